"""Which device to compute on, and with how many CPU threads."""

from typing import Literal

import torch
from pydantic import Field

from medssl.config import Keys
from medssl.errors import UserError


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
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError(
                "CONFIG", "device", "found cuda, but torch sees no GPU here",
                "use device=cpu, or see what `medssl doctor` says",
            )  # fmt: skip
        return torch.device("cuda" if self.on_gpu else "cpu")
