"""Two ranks that share weights out, beside two that do not: the same run, in less memory."""

import os
import shutil
import signal
from functools import partial

import pytest
import torch
from pydantic import ValidationError
from torch import distributed, nn

from medssl import ranks
from medssl.augment.compose import Augment, augmenter
from medssl.backbones.published3d import ResNet3D
from medssl.backbones.resenc import ResidualEncoder
from medssl.backbones.vit import ViT
from medssl.errors import UserError
from medssl.methods.byol import BYOL
from medssl.methods.mae import MAE
from medssl.tasks.segmentation import Segmentation
from medssl.trainable import StepOutput
from medssl.training import optim, shards
from medssl.training.capture import replay
from medssl.training.checkpoint import load_state
from medssl.training.durable import size_of
from medssl.training.log import read_jsonl
from medssl.training.loop import Fit, fit
from tests.methods.test_base import batch
from tests.test_ranks import in_ranks
from tests.training.test_launch import start, store, words  # noqa: F401
from tests.training.test_loop import Line

STEPS, EVERY, BATCH = 4, 2, 4
LIMIT = 1e-5  # in double precision, so that what differs is no rounding
ALIKE = [  # not sharded, and sharded in one way or another
    ("mae", "mae sharded"),
    ("mae", "mae recompute"),
    ("byol", "byol sharded"),
    ("segmentation", "segmentation sharded"),
    ("mae", "sharded, then whole"),
    ("mae", "whole, then sharded"),
    ("line whole", "line"),
]


def mae():
    torch.manual_seed(0)
    vit = ViT(1, ndim=2, patch=4, width=24, depth=2, heads=2)
    return MAE(vit, augmenter(Augment(), (-1, 1)), size=[16, 16], decoder_width=12, decoder_depth=1)


def byol():
    """Batch norms, whose statistics are of both ranks, and a teacher that follows."""
    torch.manual_seed(0)
    net = ResNet3D(1, depth=10, width=4, stem_kernel=3, ndim=2)
    return BYOL(net, augmenter(Augment(), (-1, 1)), size=[64, 64], momentum=0.9, hidden=8, width=8)


def segmentation():
    torch.manual_seed(0)
    net = ResidualEncoder(1, channels=[4, 8], blocks=[1, 1], ndim=2)
    return Segmentation(net, Augment(), {1: "bright"}, (-1, 1), size=[16, 16], width=4)


class Thrice(Line):
    """A weight of three rows: one of the ranks has two of them. Its loss is not finite at `poison_at`."""

    def __init__(self, poison_at=-1):
        super().__init__(poison_at)
        torch.manual_seed(ranks.rank())  # what counts are the weights of rank 0
        self.head = nn.Linear(1, 3)
        self.register_buffer("looked", torch.zeros(()))

    def training_step(self, batch, step):
        out = super().training_step(batch, step)
        return StepOutput(out.loss + self.head(batch["image"]).square().mean(), out.logs)


MAKERS = {"mae": mae, "byol": byol, "segmentation": segmentation}


def batches(method, first, last):
    own = ranks.share(BATCH)
    for number in range(first, last):
        whole = batch(method, n=BATCH) if hasattr(method, "crops") else {"image": torch.ones(4, 1)}
        whole["image"] *= 1 + number
        if "mask" in whole:
            whole["mask"] = whole["mask"].clamp(0)
        yield {k: v[own.start : own.stop] for k, v in whole.items()}


def train(folder, method, steps=STEPS, amid=None, at=None, clip=1.0, **options):
    """The steps of the moments; a signal comes amid moment `amid`, and `at` is asked what it makes of
    each."""
    settings = {"every": EVERY, "ema": 0.9, "accumulate": 2, "precision": "64-true", **options}
    settings = Fit(steps=STEPS, batch_size=BATCH, device="cpu", **settings)
    had = []

    def some(first, last):
        yield from batches(method, first, min(last, steps * settings.accumulate))
        if steps < STEPS:
            raise InterruptedError

    try:
        for moment in fit(method, some, settings, optim.Optim(warmup=0.0, clip=clip), folder):
            had.append(moment.step)
            if at and ranks.rank() == 0:  # alone: the other rank is not asked for anything
                at(moment)
            if moment.step == amid:
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("the signal waited")
    except (InterruptedError, SystemExit):
        pass
    return had


def scenes(folder, rank):
    os.environ |= {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    cut, found = partial(train, shard=True), {}
    built, kept = optim.build, []

    def build(*given):
        kept.append(built(*given))
        return kept[-1]

    optim.build = build
    for name, make in MAKERS.items():
        for way, run in ((name, train), (f"{name} sharded", cut)):
            method, seen = make(), []

            def look(moment, seen=seen):
                image = torch.ones(1, 1, *moment.module.size, dtype=torch.float64)
                with torch.no_grad():
                    seen += [level.clone() for level in moment.module.backbone(image)]
                    seen += [v.clone() for v in moment.module.state_dict().values()]
                seen.append(torch.tensor(moment.module.training))

            run(folder / way, method, at=look)
            held = [
                x.to_local() if shards.is_part(x) else x
                for each in kept[-1].state.values() for x in each.values()
            ]  # fmt: skip
            found[way] = {"end": method.state_dict(), "seen": seen, "bytes": size_of(held)}
    cut(folder / "mae recompute", mae(), checkpointing=True)
    cut(folder / "half", mae(), precision="bf16-mixed")
    train(folder / "half whole", mae(), precision="bf16-mixed")

    cut(folder / "stopped", mae(), steps=3)
    train(folder / "stopped whole", mae(), steps=3)
    distributed.barrier()
    if rank == 0:
        for name, origin in COPIES.items():
            shutil.copytree(folder / origin, folder / name)
    distributed.barrier()
    cut(folder / "stopped", mae())
    train(folder / "sharded, then whole", mae())
    cut(folder / "whole, then sharded", mae())
    found["amid"] = [cut(folder / "amid", mae(), amid=2)]
    distributed.barrier()
    found["amid"] += [load_state(folder / "amid/checkpoints")[1]["due"]]
    found["amid"] += [cut(folder / "amid", mae())]

    def looked(moment):
        moment.module.looked += moment.step

    module = Thrice()
    cut(folder / "line", module, at=looked, clip=0)
    found["looked"] = module.looked
    train(folder / "line whole", Thrice(), at=looked, clip=0)
    for way, run in (("poisoned", cut), ("poisoned whole", train)):
        with pytest.raises(UserError, match="NONFINITE step 3"):
            run(folder / way, Thrice(poison_at=3))
    torch.save(found, folder / f"found-{rank}.pt")


COPIES = {
    "sharded, then whole": "stopped",
    "whole, then sharded": "stopped whole",
    "one rank": "stopped",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    in_ranks(partial(scenes, folder), folder)
    return folder


def state(folder):
    """All tensors of the newest checkpoint, by name."""
    weights, trainer = load_state(folder / "checkpoints")
    assert trainer["step"] == STEPS
    flat = {**weights, **{f"average {k}": v for k, v in trainer["average"].items()}}
    for number, each in trainer["optimizer"]["state"].items():
        flat |= {f"{number} {k}": torch.as_tensor(v) for k, v in each.items()}
    return flat


def differ(a, b):
    assert a.keys() == b.keys() and all(a[k].shape == b[k].shape for k in a)
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a if a[k].numel())


@pytest.mark.parametrize("a, b", ALIKE)
def test_sharded_ends_as_not_sharded(done, a, b, limit=LIMIT):
    assert differ(state(done / a), state(done / b)) <= limit
    rows, others = (read_jsonl(done / name / "metrics.jsonl") for name in (a, b))
    assert len(rows) == STEPS
    for x, y in zip(rows, others, strict=True):
        assert x == pytest.approx(y, rel=limit)


def test_in_half_precision_too(done):
    test_sharded_ends_as_not_sharded(done, "half whole", "half", limit=1e-2)


def test_stopped_and_resumed_ends_in_the_same_bits(done):
    assert differ(state(done / "stopped"), state(done / "mae sharded")) == 0
    assert differ(state(done / "amid"), state(done / "mae sharded")) == 0
    for rank in (0, 1):
        found = torch.load(done / f"found-{rank}.pt", weights_only=True)
        # Stopped amid a moment, saved by rank 0 alone; the moment was then had again.
        assert found["amid"] == [[2], True, [2, 4]]


def test_one_rank_goes_on_with_what_two_had_shared_out(done, capsys):
    train(done / "one rank", mae(), shard=True, other_ranks=True)
    told = capsys.readouterr().err
    assert "there is one rank" in told and "the run had fit.shard=true" in told
    assert differ(state(done / "one rank"), state(done / "mae")) <= LIMIT


@pytest.mark.parametrize("name", MAKERS)
def test_moments_see_whole_averaged_weights_and_the_caller_has_the_last_ones(done, name):
    one, other = (torch.load(done / f"found-{r}.pt", weights_only=True) for r in (0, 1))
    whole, cut = one[name], one[f"{name} sharded"]
    assert len(whole["seen"]) > 20 and not cut["seen"][-1]
    for a, b in zip(whole["seen"], cut["seen"], strict=True):
        assert a.shape == b.shape and torch.allclose(a.double(), b.double(), atol=LIMIT)
    for found in (cut, other[f"{name} sharded"]):
        assert differ(whole["end"], found["end"]) <= LIMIT
        assert not any("DTensor" in str(type(v)) for v in found["end"].values())


def test_each_rank_keeps_half_of_the_moments(done):
    for rank in (0, 1):
        found = torch.load(done / f"found-{rank}.pt", weights_only=True)
        for name in MAKERS:
            assert 0.45 < found[f"{name} sharded"]["bytes"] / found[name]["bytes"] < 0.55


def test_what_a_moment_does_to_buffers_is_kept(done):
    assert torch.load(done / "found-0.pt", weights_only=True)["looked"] == 2 + 4
    assert load_state(done / "line/checkpoints")[0]["looked"] == 2 + 4


@pytest.mark.parametrize("rank", [0, 1])
def test_what_went_wrong_is_kept_whole_by_every_rank(done, rank):
    a, b = (
        done / f"{way}/capture/step-00000003-rank-{rank}" for way in ("poisoned", "poisoned whole")
    )
    losses = []
    for folder in (a, b):
        module = Thrice().double()
        replay(folder, module)
        losses.append({k: v.detach() for k, v in module.state_dict().items()})
    assert differ(*losses) <= LIMIT and float(losses[0]["head.weight"].abs().max()) > 0


def test_what_cannot_be_shared_out_is_refused():
    for wrong in ({"compile": True}, {"precision": "16-mixed"}):
        with pytest.raises(ValidationError, match="leave shard"):
            Fit(shard=True, **wrong)
    module = Line()
    module.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(UserError, match="SHARD scale: is a weight without an axis"):
        shards.cut(module)


def test_blocks_that_share_a_weight_are_no_units_of_their_own():
    method = mae()
    assert shards.units(method) == list(method.backbone.blocks)
    method.backbone.blocks[1].norm1.weight = method.decoder[0].norm1.weight
    assert shards.units(method) == [method.backbone.blocks[0]]
    assert len(shards.units(byol())) == 8  # four of the network and four of its teacher
    assert len(shards.units(segmentation())) == 2


@pytest.mark.slow
def test_the_verbs_train_sharded(store, tmp_path):  # noqa: F811
    logs = []
    for shard in (False, True):
        out = tmp_path / f"shard-{shard}"
        run = start(words(store, out, devices=2, shard=shard))
        _, told = run.communicate(timeout=900)
        assert run.returncode == 0, told
        assert (out / "model/weights.safetensors").exists() and list(out.glob("pictures/*.png"))
        logs.append(read_jsonl(out / "metrics.jsonl"))
    for x, y in zip(*logs, strict=True):
        assert x == pytest.approx(y, rel=1e-3, abs=1e-3)
