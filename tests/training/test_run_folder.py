import errno
import multiprocessing

import pytest

from medssl.errors import UserError
from medssl.training import run_folder


def test_a_folder_that_holds_weights_belongs_to_one_config(tmp_path):
    folder = tmp_path / "r"
    with run_folder.opened(folder, {"fit": {"steps": 5, "workers": 0}, "out": "r"}):
        (folder / "checkpoints/step-00000001").mkdir(parents=True)
    with run_folder.opened(folder, {"fit": {"steps": 5, "workers": 2}, "out": "r"}):
        pass
    with (
        pytest.raises(UserError, match=r"fit.steps \(there 5, now 6\)"),
        run_folder.opened(folder, {"fit": {"steps": 6, "workers": 0}, "out": "r"}),
    ):
        pass
    assert run_folder.read_config(folder)["fit"]["steps"] == 5
    config = {"fit": {"steps": 4, "workers": 0, "seed": 1}, "out": "r"}
    words = r"fit.seed \(there None, now 1\), fit.steps \(there 5, now 4\)\. Fix"
    with pytest.raises(UserError, match=words), run_folder.opened(folder, config):
        pass
    with pytest.raises(UserError, match="config.json"):
        run_folder.read_config(tmp_path)


def test_a_key_may_be_raised_and_then_stands_in_the_folder(tmp_path):
    def steps(n, raised=frozenset({"fit.steps"})):
        with run_folder.opened(tmp_path, {"fit": {"steps": n, "workers": n}}, raised):
            (tmp_path / "checkpoints/step-00000001").mkdir(parents=True, exist_ok=True)
        return run_folder.read_config(tmp_path)["fit"]

    assert steps(5) == {"steps": 5, "workers": 5} and steps(8) == {"steps": 8, "workers": 8}
    for n, raised in ((7, {"fit.steps"}), (9, set())):
        with pytest.raises(UserError, match=rf"fit.steps \(there 8, now {n}\)"):
            steps(n, raised)
    assert steps(8)["steps"] == 8


@pytest.mark.parametrize(
    ("steps", "branch"), [(18, ("15", 18)), (20, ("15", 20)), (15, ("10", 15)), (7, ("10", 11))]
)
def test_who_wants_an_earlier_end_is_told_of_a_branch(tmp_path, steps, branch):
    def opened(n, raised=frozenset({"fit.steps"}), **more):
        config = {"fit": {"steps": n}, "method": {"name": "mae"}, **more}
        with run_folder.opened(tmp_path, config, raised):
            for step in (10, 15, 20):
                (tmp_path / f"checkpoints/step-{step:08d}").mkdir(parents=True, exist_ok=True)

    opened(30)
    with pytest.raises(UserError, match=r"fit.steps \(there 30, now") as error:
        opened(steps)
    start, end = branch
    assert (
        f"checkpoints/step-000000{start} optim.schedule=anneal fit.steps={end}," in error.value.fix
    )
    with pytest.raises(UserError, match=f"start={tmp_path} branch=true fit.steps={steps}"):
        opened(steps, frozenset())  # of a schedule that knows its end


def test_a_fine_tuning_is_not_told_to_branch(tmp_path):
    with run_folder.opened(tmp_path, {"fit": {"steps": 9}, "task": {"name": "a"}}, {"fit.steps"}):
        (tmp_path / "checkpoints/step-00000005").mkdir(parents=True)
    with (
        pytest.raises(UserError, match="choose another out="),
        run_folder.opened(tmp_path, {"fit": {"steps": 7}, "task": {"name": "a"}}, {"fit.steps"}),
    ):
        pass


def test_a_folder_of_an_attempt_that_failed_takes_another_config(tmp_path):
    with (
        pytest.raises(RuntimeError),
        run_folder.opened(tmp_path, {"fit": {"device": "cuda"}}),
    ):
        raise RuntimeError
    (tmp_path / "config.json").write_text("")  # as a kill in the midst of writing leaves it
    for name in run_folder.LOGS:  # what it had logged is of another network
        (tmp_path / name).write_text('{"step": 0}')
    with run_folder.opened(tmp_path, {"fit": {"device": "cpu"}}):
        assert not any((tmp_path / name).exists() for name in run_folder.LOGS)
        assert run_folder.read_config(tmp_path) == {"fit": {"device": "cpu"}}


def test_stopping_says_how_to_go_on(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), run_folder.opened(tmp_path, {}):
        raise KeyboardInterrupt
    assert "the same command goes on" in capsys.readouterr().err


def _try(folder, queue):
    try:
        with run_folder.opened(folder, {}):
            queue.put("opened")
    except UserError as error:
        queue.put(error.code)


def test_two_processes_do_not_share_a_run(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with run_folder.opened(tmp_path, {}):
        assert not run_folder.held(tmp_path)  # and asking does not let go of it
        other = context.Process(target=_try, args=(tmp_path, queue))
        other.start()
        assert queue.get(timeout=120) == "LOCKED"
        other.join()


def test_names_that_are_like_a_checkpoints_are_none(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in ("step-00000020", "step-100000010", "step-00000003", "step-best", "step-7",
                 "step-00000030.bak", "origin"):  # fmt: skip
        (folder / name).mkdir(parents=True)
    found = run_folder.checkpoints(folder)
    assert [run_folder.step_of(path) for path in found] == [3, 20, 100000010]
    assert run_folder.step_of(folder / "step-00000030.bak") is None and run_folder.begun(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{"])
def test_a_config_that_holds_no_settings_is_told(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model").mkdir()
    with (
        pytest.raises(UserError, match="RUN .*no readable config.json"),
        run_folder.opened(tmp_path, {"fit": {"steps": 5}}),
    ):
        pass


def test_a_number_that_was_taken_out_by_hand_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"fit": {"steps": null}}')
    (tmp_path / "model").mkdir()
    with (
        pytest.raises(UserError, match=r"fit.steps \(there None, now 5\)"),
        run_folder.opened(tmp_path, {"fit": {"steps": 5}}, {"fit.steps"}),
    ):
        pass


def test_where_files_cannot_be_locked_that_is_said_and_no_other_is_made_up(
    tmp_path, monkeypatch, capsys
):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", none)
    with run_folder.opened(tmp_path, {}):
        assert "remark:" in capsys.readouterr().err
