import pytest
import torch

from medssl.errors import UserError
from medssl.training.hardware import Hardware


def test_threads_are_set_and_the_cpu_is_taken():
    before = torch.get_num_threads()
    try:
        assert Hardware(device="cpu", threads=2).take() == torch.device("cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_of_one_run_are_not_left_to_the_next():
    before = torch.get_num_threads()
    try:
        for usual in (3, 2):
            torch.set_num_threads(usual)  # as a study does, or whoever calls
            for asked, has in ((1, 1), (0, usual), (4, 4), (1, 1), (0, usual)):
                Hardware(threads=asked).take()
                assert torch.get_num_threads() == has
    finally:
        torch.set_num_threads(before)


def test_a_gpu_is_taken_when_there_is_one_and_refused_when_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Hardware().take().type == Hardware(device="cuda").take().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Hardware().take().type == "cpu"
    with pytest.raises(UserError, match="doctor"):
        Hardware(device="cuda").take()
