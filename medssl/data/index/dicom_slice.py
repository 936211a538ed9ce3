"""What is kept of the header of one image: a slice, a frame or a film."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssl.errors import UserError

SLICED = {"CT", "MR", "PT", "NM"}


@dataclass(slots=True)  # an archive has a hundred thousand
class Header:
    """Identity, grid and place of one image. UIDs stay in memory; only their hashes are written.

    `position` (3) and `axes` (2, 3: along a row, down a column) are LPS mm; `spacing` is the
    distance of rows, then of columns, mm; `reference` is the UID of the frame that they lie in.
    `frame` counts from 1 in a file of `frames` frames, and is 0 for the only image of a file.
    `scale` is slope and intercept, None where not given. `apart` holds what can tell scans of one
    series apart, by tag, for tags that are given; slices that say the same share it.
    `fault` says why the image cannot be used.
    """

    path: Path
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    sop_class: str
    reference: str = ""
    rows: int = 0
    columns: int = 0
    samples: int = 1
    photometric: str = ""
    frame: int = 0
    frames: int = 1
    number: int | None = None
    spacing: tuple[float, float] | None = None
    position: np.ndarray | None = None
    axes: np.ndarray | None = None
    scale: tuple[float | None, float | None] = (None, None)
    apart: dict[str, str] = field(default_factory=dict)
    in_acquisition: int = 0
    in_volume: int = 0
    remarks: list[str] = field(default_factory=list)
    fault: UserError | None = None

    @property
    def sliced(self) -> bool:
        """Whether it is one slice of a volume, and not a film."""
        return self.modality in SLICED or self.frame > 0

    @property
    def name(self) -> str:
        """The file's name, with the number of the frame."""
        return f"{self.path.name} frame {self.frame}" if self.frame else self.path.name

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)
