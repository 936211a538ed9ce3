import multiprocessing

import pytest

from medssl.errors import UserError
from medssl.training import run_folder


def test_a_folder_belongs_to_one_config(tmp_path):
    with run_folder.opened(tmp_path / "r", {"fit": {"steps": 5, "workers": 0}, "out": "r"}):
        pass
    with run_folder.opened(tmp_path / "r", {"fit": {"steps": 5, "workers": 2}, "out": "r"}):
        pass
    with (
        pytest.raises(UserError, match="there fit.steps=5, now fit.steps=6"),
        run_folder.opened(tmp_path / "r", {"fit": {"steps": 6, "workers": 0}, "out": "r"}),
    ):
        pass
    assert run_folder.read_config(tmp_path / "r")["fit"]["steps"] == 5
    with pytest.raises(UserError, match="config.json"):
        run_folder.read_config(tmp_path)


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
