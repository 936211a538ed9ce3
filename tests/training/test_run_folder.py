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
        pytest.raises(UserError, match="there fit.steps=5, now fit.steps=6"),
        run_folder.opened(folder, {"fit": {"steps": 6, "workers": 0}, "out": "r"}),
    ):
        pass
    assert run_folder.read_config(folder)["fit"]["steps"] == 5
    with pytest.raises(UserError, match="config.json"):
        run_folder.read_config(tmp_path)


def test_a_key_may_be_raised_and_then_stands_in_the_folder(tmp_path):
    def steps(n, raised=frozenset({"fit.steps"})):
        with run_folder.opened(tmp_path, {"fit": {"steps": n, "workers": n}}, raised):
            (tmp_path / "checkpoints/step-00000001").mkdir(parents=True, exist_ok=True)
        return run_folder.read_config(tmp_path)["fit"]

    assert steps(5) == {"steps": 5, "workers": 5} and steps(8) == {"steps": 8, "workers": 8}
    for n, raised in ((7, {"fit.steps"}), (9, set())):
        with pytest.raises(UserError, match=f"there fit.steps=8, now fit.steps={n}"):
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
    with pytest.raises(UserError, match="there fit.steps=30, now") as error:
        opened(steps)
    start, end = branch
    assert (
        f"checkpoints/step-000000{start} optim.schedule=anneal fit.steps={end}," in error.value.fix
    )
    with pytest.raises(UserError, match="choose another out="):
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
    with run_folder.opened(tmp_path, {"fit": {"device": "cpu"}}):
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
        other = context.Process(target=_try, args=(tmp_path, queue))
        other.start()
        assert queue.get(timeout=120) == "LOCKED"
        other.join()
