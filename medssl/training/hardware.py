"""Which device to compute on, and with how many CPU threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from medssl.config import Keys
from medssl.errors import UserError


@dataclass
class _Threads:
    """How many CPU threads torch had before a run asked for another number, and that number."""

    before: int = 0
    asked: int = 0

    def take(self, threads: int) -> None:
        """What one run asks for is not left to the next in the same process that asks for none."""
        now = torch.get_num_threads()
        if now != self.asked:  # not ours: it may have been set by whoever calls
            self.before = now
        self.asked = threads
        torch.set_num_threads(threads or self.before)


_threads = _Threads()


@contextmanager
def shared_by(processes: int) -> Iterator[dict[str, str]]:
    """Let torch have the CPU threads of one of so many processes, for the length of a block; yields the
    environment of the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // processes))
    try:
        yield {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    finally:
        torch.set_num_threads(threads)


class Hardware(Keys):
    """The keys of whatever runs a network."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one"
    )
    threads: int = Field(0, description="CPU threads; 0: as torch chooses", ge=0)

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu" and torch.cuda.is_available()

    def take(self) -> torch.device:
        """The device asked for, with torch's threads set. Raises UserError if there is no GPU."""
        _threads.take(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError(
                "CONFIG", "device", "found cuda, but torch sees no GPU here",
                "use device=cpu, or see what `medssl doctor` says",
            )  # fmt: skip
        return torch.device("cuda" if self.on_gpu else "cpu")
