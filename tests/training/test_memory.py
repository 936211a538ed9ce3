import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.errors import UserError
from medssl.training.checkpoint import load_state
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.faults.conftest import MESSAGE, limited
from tests.training.test_loop import Line, batches


def gpu():
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has a total ..."
    )


GREEDY = {
    "torch": lambda: torch.empty(1 << 45),
    "numpy": lambda: np.empty(1 << 60, np.uint8),
    "python": lambda: bytearray(1 << 60),
    "gpu": gpu,
}


class Greedy(Line):
    def __init__(self, take):
        super().__init__()
        self.take = take

    def training_step(self, batch, step):
        if step == 7:
            self.take()
        return super().training_step(batch, step)


def train(folder, take):
    for _ in fit(Greedy(take), batches, Fit(steps=9, batch_size=8, every=5), Optim(lr=0.1), folder):
        pass


@pytest.mark.parametrize("kind", GREEDY)
def test_memory_that_ran_out_is_told_with_the_keys_to_lower(tmp_path, kind):
    with pytest.raises(UserError) as error:
        train(tmp_path, GREEDY[kind])
    told = str(error.value)
    assert error.value.code == "MEMORY" and MESSAGE.fullmatch(told)
    assert all(word in told for word in ("fit.batch_size=8", "8 samples", "each 1 ", "method.size"))
    assert load_state(tmp_path / "checkpoints")[1]["step"] == 5


def _limited_to_a_gigabyte_more(folder):
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30),) * 2)
    train(folder, lambda: torch.ones(1 << 29))


def test_a_limit_of_the_system_is_told_too(tmp_path):
    with pytest.raises(AssertionError, match="UserError: MEMORY fit.batch_size=8"):
        limited(_limited_to_a_gigabyte_more, tmp_path)


def test_other_faults_stay_what_they_are(tmp_path):
    def other():
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        train(tmp_path, other)
