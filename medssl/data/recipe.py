"""How scans are made comparable: the recipe that travels with a store and with weights."""

import math
from typing import Literal

from pydantic import Field, model_validator

from medssl.config import Keys
from medssl.errors import UserError

CLIP_Z = 5.0
HU_STEP, LEVELS, FEWEST_LEVELS, MOST_LEVELS = 0.25, 8192, 1024, 65535
SMALLEST_MM = 0.001
AXIS_OF = str.maketrans("RLAPSI", "001122")


class Recipe(Keys):
    """How scans are made comparable. Recorded in the store and in every checkpoint."""

    modality: str = Field("", description="modality a scan must have (CT, MR, ...); empty: any")
    orientation: str = Field("RAS", description="axis codes that volumes are turned to")
    spacing: list[float] | None = Field(None, description="voxel size in mm; none: as acquired")
    size: list[int] | None = Field(
        None, description="grid to fit the scan into, aspect kept, padded"
    )
    intensity: Literal["hu", "zscore", "percentile"] = Field(
        "zscore",
        description="hu: window to -1..1; zscore: foreground z-score; percentile: to -1..1",
    )
    window: list[float] = Field([-175.0, 250.0], description="HU range for intensity=hu")
    percentiles: list[float] = Field([0.5, 99.5], description="clipped at these before scaling")
    foreground: Literal["all", "body", "nonzero"] = Field(
        "all",
        description="what counts as foreground: body (HU > -500, or Otsu), nonzero, all voxels",
    )
    crop: bool = Field(False, description="crop to the foreground's bounding box")
    margin: float = Field(5.0, description="margin around that box, mm", ge=0)

    @property
    def plane(self) -> str:
        """What the slices of a volume are called, which lie along its last axis."""
        return ("sagittal", "coronal", "axial")[int(self.orientation[2].translate(AXIS_OF))]

    @model_validator(mode="after")
    def _can_be_carried_out(self):
        if sorted(self.orientation.translate(AXIS_OF)) != ["0", "1", "2"]:
            raise ValueError(f"orientation {self.orientation!r} is not three letters such as RAS")
        for key, least in (("spacing", SMALLEST_MM), ("size", 1)):
            values = getattr(self, key)
            if values is not None and len(values) == 1 and values[0] >= least:
                each, film = _short(values * 3, ","), _short(values * 2, ",")
                cause = f"{key} {values[0]:g} is not a number for each axis"
                raise ValueError(f"{cause}: give {each}, or {film} for films")
            if values is not None and (len(values) not in (2, 3) or min(values) < least):
                raise ValueError(f"{key} {values} is not a number of {least} or more for each axis")
        for key in ("window", "percentiles"):
            ends = getattr(self, key)
            if len(ends) != 2 or not ends[0] < ends[1]:
                raise ValueError(f"{key} {ends} is not a low and a high end")
        if self.percentiles[0] < 0 or self.percentiles[1] > 100:
            raise ValueError(f"percentiles {self.percentiles} do not lie within 0 to 100")
        return self

    def check_axes(self, axes: int) -> None:
        """Raise UserError CONFIG if scans of so many axes cannot be brought onto the grid."""
        key = "size" if self.size else "spacing"
        values = getattr(self, key)
        if values and len(values) != axes:
            raise UserError(
                "CONFIG", "recipe", f"recipe.{key} has {len(values)} values, the scan {axes} axes",
                f"give {axes} values, or prepare films and volumes with different recipes",
            )  # fmt: skip

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value that a prepared image can have."""
        return (-CLIP_Z, CLIP_Z) if self.intensity == "zscore" else (-1.0, 1.0)

    @property
    def levels(self) -> int:
        """Steps into which `value_range` is divided in the store.

        8192, or a quarter HU each, so that whole HU come back exactly. Finer steps would store
        noise: at 65535 levels a resampled CT takes a third more room.
        """
        if self.intensity != "hu":
            return LEVELS
        width, step = self.window[1] - self.window[0], HU_STEP
        while width / step > MOST_LEVELS:
            step *= 2
        while width / step < FEWEST_LEVELS:
            step /= 2
        return math.ceil(width / step)

    def __str__(self) -> str:
        """The keys that have an effect, for people."""
        scaled = self.intensity != "hu"
        effective = {
            "modality": self.modality,
            "orientation": "" if self.size and len(self.size) == 2 else self.orientation,
            "spacing": self.spacing and f"{_short(self.spacing, 'x')} mm",
            "size": self.size and _short(self.size, "x"),
            "intensity": self.intensity,
            "window": not scaled and f"{_short(self.window, ' to ')} HU",
            "percentiles": scaled and _short(self.percentiles, " to "),
            "foreground": self.foreground if scaled or self.crop else "",
            "crop": self.crop and f"to the foreground, margin {self.margin:g} mm",
        }
        return ", ".join(f"{key} {value}" for key, value in effective.items() if value)


def _short(values: list[float], between: str) -> str:
    return between.join(f"{v:g}" for v in values)
