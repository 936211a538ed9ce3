"""Going on from the whole state of a run, with a small network; by the verb in tests/stages."""

import pytest
import torch

from medssl.data.files import write_json
from medssl.errors import UserError
from medssl.training.branch import ORIGIN, branch_of, keys_beneath, keys_laid_over
from medssl.training.durable import sha256
from medssl.training.log import read_jsonl
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.training.test_loop import Line, batches

INFINITE = {"lr": 0.2, "schedule": "infinite", "warmup": 4, "cooldown": 6, "constant": 0.5}


class Dropping(Line):
    """Has random draws in its steps, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(1, 1)

    def training_step(self, batch, step):
        out = super().training_step({"image": torch.dropout(batch["image"], 0.5, True)}, step)
        out.loss = out.loss + (self.head(batch["image"]) - 1).square().mean()
        return out


def settings(steps, optim, **more):
    return {
        "fit": Fit(steps=steps, batch_size=8, every=5).model_dump(),
        "optim": Optim(**optim).model_dump(), "method": {"name": "line"}, **more,
    }  # fmt: skip


def train(folder, steps, optim, start=None):
    """As a stage does it. Returns the rates of the steps that were made."""
    asked = settings(steps, optim)
    branch = branch_of(start, folder, asked) if start else None
    (folder / "model").mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", asked)
    if branch:
        (folder / "model").rmdir()  # a run that has begun keeps nothing again
        branch = branch.keep(folder)
    module = Dropping()
    for _ in fit(module, batches, Fit(**asked["fit"]), Optim(**optim), folder, branch=branch):
        pass
    return [row["lr"] for row in read_jsonl(folder / "metrics.jsonl")]


def weights(folder, step):
    return sha256(folder / f"checkpoints/step-{step:08d}/weights.safetensors")


def files(folder):
    return {p.relative_to(folder): sha256(p) for p in folder.rglob("*") if p.is_file()}


def test_an_infinite_run_with_more_steps_ends_as_one_that_was_asked_for_them_at_once(tmp_path):
    train(tmp_path / "cut", 10, INFINITE)
    train(tmp_path / "cut", 15, INFINITE)
    train(tmp_path / "cut", 30, INFINITE)
    train(tmp_path / "whole", 30, INFINITE)
    assert weights(tmp_path / "cut", 30) == weights(tmp_path / "whole", 30)
    logs = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in ("cut", "whole")]
    assert logs[0] == logs[1]


def test_an_anneal_goes_on_and_the_run_that_it_came_from_does_not_change(tmp_path):
    main, anneal = tmp_path / "main", tmp_path / "anneal"
    train(main, 20, INFINITE)
    before = files(main)
    rates = train(anneal, 30, {**INFINITE, "schedule": "anneal", "final": 0.01}, main)
    assert files(main) == before
    assert len(rates) == 10 and rates[-1] == pytest.approx(0.2 * 0.01)
    assert 0.2 * 0.5 > rates[0] > 0.2 * 0.5 * 0.6
    assert (anneal / ORIGIN / "checkpoints/step-00000020").is_dir()
    # It began with the optimiser's state too: with a rate that hardly falls it makes the main run's steps.
    train(tmp_path / "same", 25, {**INFINITE, "schedule": "anneal", "final": 0.5 - 1e-9}, main)
    train(main, 25, INFINITE)
    a, b = (
        torch.load(f / "checkpoints/step-00000025/trainer.pt", weights_only=True)["optimizer"]["state"]
        for f in (main, tmp_path / "same")
    )  # fmt: skip
    for i in a:
        assert torch.allclose(a[i]["exp_avg_sq"], b[i]["exp_avg_sq"], rtol=1e-5)
        assert a[i]["step"] == b[i]["step"] == 25


def test_an_anneal_that_was_stopped_ends_in_the_same_bits_though_the_main_run_went_on(tmp_path):
    main, optim = tmp_path / "main", {**INFINITE, "schedule": "anneal"}
    train(main, 20, INFINITE)
    train(tmp_path / "whole", 30, optim, main)

    asked = settings(30, optim)
    branch = branch_of(main, tmp_path / "cut", asked)
    parent = branch.parent()
    branch = branch.keep(tmp_path / "cut")

    def stopping(first, last):
        yield from batches(first, 27)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        for _ in fit(
            Dropping(),
            stopping,
            Fit(**asked["fit"]),
            Optim(**optim),
            tmp_path / "cut",
            branch=branch,
        ):
            pass
    train(main, 60, INFINITE)
    assert not (main / "checkpoints/step-00000020").exists()
    again = branch_of(main, tmp_path / "cut", asked)
    assert (again.step, again.share) == (20, 0.5) and again.parent() == parent
    for _ in fit(
        Dropping(), batches, Fit(**asked["fit"]), Optim(**optim), tmp_path / "cut", branch=again
    ):
        pass
    for step in (25, 30):
        assert weights(tmp_path / "cut", step) == weights(tmp_path / "whole", step)


def test_a_cosine_begins_again_and_the_infinite_schedule_goes_on(tmp_path):
    main = tmp_path / "main"
    train(main, 20, INFINITE)
    again = train(tmp_path / "again", 40, {"lr": 0.2, "warmup": 0.2}, main)
    assert again[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2]) and again[-1] < 0.01
    assert train(tmp_path / "on", 40, INFINITE, main) == [0.1] * 20


def test_an_earlier_checkpoint_is_taken_where_it_is_named(tmp_path):
    main = tmp_path / "main"
    train(main, 20, INFINITE)
    asked = settings(40, {**INFINITE, "schedule": "anneal"})
    found = branch_of(main / "checkpoints/step-00000015", tmp_path / "a", asked)
    assert found.step == 15 and found.run == main
    (main / "checkpoints/step-00000020/trainer.pt").write_bytes(b"torn")
    assert branch_of(main, tmp_path / "a", asked).step == 15


@pytest.mark.parametrize(
    ("steps", "optim", "more", "words"),
    [
        (20, {"schedule": "anneal"}, {}, "fit.steps: found 20, and .* has done 20"),
        (30, {"schedule": "anneal", "final": 0.6}, {}, "0.5 of lr already"),
        (30, {"schedule": "anneal", "lr": 0.1}, {}, "there optim.lr=0.2, now 0.1"),
        (30, {"schedule": "anneal"}, {"method": {"name": "other"}}, "method.name=line"),
        (30, {"constant": 0.3}, {}, "optim.constant=0.5, now 0.3"),
    ],
)
def test_what_a_branch_cannot_be_is_refused_by_name(tmp_path, steps, optim, more, words):
    train(tmp_path / "main", 20, INFINITE)
    asked = settings(steps, {**INFINITE, **optim}, **more)
    with pytest.raises(UserError, match=words):
        branch_of(tmp_path / "main", tmp_path / "new", asked)


def test_a_run_without_a_state_or_of_another_kind_is_refused(tmp_path):
    asked = settings(30, {**INFINITE, "schedule": "anneal"})
    with pytest.raises(UserError, match="no readable config.json"):
        branch_of(tmp_path, tmp_path / "new", asked)
    write_json(tmp_path / "config.json", settings(20, INFINITE))
    with pytest.raises(UserError, match="no complete checkpoint"):
        branch_of(tmp_path, tmp_path / "new", asked)
    write_json(tmp_path / "config.json", {"task": {}, "optim": {}})
    with pytest.raises(UserError, match="no pretraining run"):
        branch_of(tmp_path, tmp_path / "new", asked)
    train(tmp_path / "main", 20, INFINITE)
    train(tmp_path / "low", 30, {**INFINITE, "schedule": "anneal"}, tmp_path / "main")
    with pytest.raises(UserError, match="was annealed"):
        branch_of(
            tmp_path / "low", tmp_path / "new", settings(40, {**INFINITE, "schedule": "anneal"})
        )


def test_a_cosine_that_has_ended_leaves_nothing_to_anneal(tmp_path, capsys):
    cosine, main = {"lr": 0.2, "warmup": 0.2}, tmp_path / "main"
    train(main, 20, cosine)
    asked = settings(30, {**cosine, "schedule": "anneal"})
    with pytest.raises(UserError, match="end of its cosine schedule, at 0.0.* of lr") as error:
        branch_of(main, tmp_path / "new", asked)
    assert "branch=true optim.schedule=cosine" in error.value.fix
    assert "cosine" not in capsys.readouterr().err
    found = branch_of(main / "checkpoints/step-00000015", tmp_path / "new", asked)
    assert found.step == 15 and 0.2 < found.share < 0.5
    assert f"remark: {main} was on its way down a cosine" in capsys.readouterr().err
    branch_of(main, tmp_path / "new", settings(30, cosine))  # which warms up again
    assert "cosine" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "values",
    [
        {"optim": {"schedule": "anneal"}},
        {"optim": Optim(schedule="anneal")},
        {"branch": "true"},
        {"branch": True, "optim": {"schedule": "cosine"}},
    ],
)
@pytest.mark.parametrize("start", ["main", "main/checkpoints/step-00000005"])
def test_a_branch_takes_the_keys_of_its_run(tmp_path, values, start):
    asked = settings(5, INFINITE, out="main", start="other", augment={"noise": 0.5})
    (tmp_path / "main").mkdir()
    write_json(tmp_path / "main/config.json", asked)
    found = keys_beneath({**values, "start": tmp_path / start})
    assert found == {key: asked[key] for key in ("fit", "optim", "method", "augment")}
    assert keys_beneath(values) == {}
    assert keys_beneath({**values, "start": tmp_path / "gone"}) == {}  # told when it is read


@pytest.mark.parametrize("values", [{}, {"branch": "false"}, {"branch": "perhaps"}, {"optim": "x"}])
def test_what_is_no_branch_takes_no_keys(tmp_path, values):
    write_json(tmp_path / "config.json", settings(5, INFINITE))
    assert keys_beneath({**values, "start": str(tmp_path)}) == {}


def test_a_branch_that_has_begun_keeps_the_keys_that_it_took(tmp_path):
    main, out, optim = tmp_path / "main", tmp_path / "new", {**INFINITE, "schedule": "anneal"}
    train(main, 10, INFINITE)
    train(out, 15, optim, main)
    write_json(main / "config.json", settings(40, INFINITE))  # it has gone on since
    values = {"start": str(main), "out": str(out), "optim": {"schedule": "anneal"}}
    assert keys_beneath(values)["fit"]["steps"] == 10
    assert keys_beneath({**values, "out": str(tmp_path / "other")})["fit"]["steps"] == 40
    asked = settings(15, optim, out="new")
    over = keys_laid_over(branch_of(main, out, asked), asked)
    assert over == "fit.steps=15, optim.schedule=anneal"


def test_what_a_branch_has_kept_and_lost_is_read_where_it_came_from(tmp_path, capsys):
    main, anneal = tmp_path / "main", tmp_path / "anneal"
    asked = {**INFINITE, "schedule": "anneal", "final": 0.01}
    train(main, 20, INFINITE)
    train(anneal, 30, asked, main)
    (anneal / ORIGIN / "checkpoints/step-00000020/trainer.pt").write_bytes(b"")
    again = branch_of(main, anneal, settings(30, asked))
    assert (again.run, again.step) == (main, 20) and "is damaged" in capsys.readouterr().err
    train(main, 25, INFINITE)  # the step is still there
    assert branch_of(main, anneal, settings(30, asked)).step == 20
    train(main, 30, INFINITE)  # and now it is not
    with pytest.raises(UserError, match="CHECKPOINT .*origin"):
        branch_of(main, anneal, settings(40, asked))


def test_a_run_may_be_called_as_a_checkpoint_is(tmp_path):
    run = tmp_path / "step-two"
    train(run, 20, INFINITE)
    assert branch_of(run, tmp_path / "b", settings(30, INFINITE)).step == 20
