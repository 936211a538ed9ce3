"""What preparing will cost, before it is spent: room on disk and time."""

import math
import shutil
import statistics
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.files import no_room
from medssl.data.recipe import AXIS_OF, Recipe
from medssl.errors import UserError
from medssl.progress import amount, duration

IMAGE_BYTES, MASK_BYTES = 2, 1
FIRST = 3


class Forecast:
    """Bytes and seconds for the scans to come: a limit from headers, then from scans prepared.

    `observe` is called with every scan in the order of `rows`. After the first three that were not
    in the store already it returns the forecast, and raises UserError DISK if there is no room; but not
    where the store has `begun`: which scans are there is only known when their turn comes.
    """

    def __init__(
        self,
        folder: Path,
        rows: pd.DataFrame,
        recipe: Recipe,
        workers: int = 0,
        begun: bool = False,
    ):
        self.folder, self.workers, self.begun = folder, workers, begun
        self.source = [_voxels(shape) for shape in rows["shape"]]
        self.prepared = [prepared_voxels(row, recipe) for _, row in rows.iterrows()]
        masks = (rows["label_mask"] != "").to_numpy()
        self.limits = np.array(self.prepared) * (IMAGE_BYTES + MASK_BYTES * masks)
        self.done = 0
        self.bytes_a_voxel: list[float] = []
        self.seconds_a_voxel: list[float] = []

    def limit(self) -> str:
        """The most that headers allow; crops and compression bring it down."""
        scans = f"{len(self.source)} scan{'s' if len(self.source) != 1 else ''}"
        most, free = amount(self.limits.sum()), amount(self.free)
        return f"to prepare: {scans}, at most {most} of voxels before compression; {free} are free"

    def observe(self, size: int, seconds: float) -> str:
        """One scan more: its bytes on disk and its seconds, both 0 if it was there already.

        Returns the forecast in words when it is due, else "".
        """
        self.note(size, seconds)
        left = len(self.source) - self.done
        if not size or len(self.bytes_a_voxel) != FIRST or not left:
            return ""
        if self.bytes_to_come > self.free and not self.begun:
            cause = f"{left} more scans need about {amount(self.bytes_to_come)}"
            raise no_room(self.folder, cause)
        most = "at most " if self.begun else ""
        return (
            f"forecast after {self.done} scans: {most}{left} more in about "
            f"{duration(self.seconds_to_come)} and "
            f"{amount(self.bytes_to_come)}; {amount(self.free)} are free"
        )

    def note(self, size: int, seconds: float) -> None:
        """Count one scan more."""
        here, self.done = self.done, self.done + 1
        if size:
            self.bytes_a_voxel.append(size / max(self.prepared[here], 1))
            self.seconds_a_voxel.append(seconds / max(self.source[here] + self.prepared[here], 1))

    def stopped(self, error: UserError) -> UserError:
        """The error of a disk that filled up, with what the scans not yet prepared need."""
        if self.bytes_a_voxel:
            need = f"about {amount(self.bytes_to_come)}"
        else:
            need = f"at most {amount(self.limits[self.done :].sum())}"
        cause = f"{error.cause}; {len(self.source) - self.done} scans not yet done need {need}"
        return UserError(error.code, self.folder, cause, f"{error.fix}; what is done is kept")

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.folder).free

    @property
    def bytes_to_come(self) -> float:
        return sum(self.prepared[self.done :]) * statistics.fmean(self.bytes_a_voxel)

    @property
    def seconds_to_come(self) -> float:
        """By the middle pace, since the first scan also took what starting takes."""
        voxels = sum(self.source[self.done :]) + sum(self.prepared[self.done :])
        return voxels * statistics.median(self.seconds_a_voxel) / max(self.workers, 1)


def prepared_voxels(row: pd.Series, recipe: Recipe) -> int:
    """Voxels of a scan on the recipe's grid by its header; less if the recipe crops."""
    if recipe.size:
        return math.prod(recipe.size)
    shape, spacing = _numbers(row["shape"]), _numbers(row["spacing"])
    if not recipe.spacing or not len(shape) == len(spacing) == len(recipe.spacing):
        return math.prod(map(int, shape))
    wanted = list(recipe.spacing)
    if len(row["orientation"]) == len(shape) == 3:
        # The recipe's spacing is along its own axes, the header's along the file's.
        axes = [recipe.orientation.translate(AXIS_OF).index(a) for a in _axes(row["orientation"])]
        wanted = [wanted[axis] for axis in axes]
    triples = zip(shape, spacing, wanted, strict=True)
    return math.prod(max(1, round(n * have / want)) for n, have, want in triples)


def _axes(codes: str) -> str:
    return codes.translate(AXIS_OF)


def _voxels(shape: str) -> int:
    return math.prod(map(int, _numbers(shape)))


def _numbers(text: str) -> list[float]:
    """36x50x35 as numbers; none if the header did not say."""
    return [float(n) for n in text.split("x")] if text else []
