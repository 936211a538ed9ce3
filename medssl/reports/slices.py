"""A scan cut into slices, as pictures of a page: grey levels, outlines and tints of masks."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from medssl.data.display import encoded
from medssl.reports.figures import planes
from medssl.reports.outlines import outlined

AXES = {
    2: (None,),
    3: (2, 1, 0),
}  # what a film and the axial, coronal and sagittal planes run along
QUALITY = 88  # of JPEG


@dataclass(frozen=True)
class Slices:
    """levels   uint8 (X, Y, Z) along RAS, or a film (rows, columns)
    colours  of the same shape: 0 nothing, from 1 on the number of a colour; None: no mask
    fill     opacity of tints, 0 to 1
    """

    levels: np.ndarray
    colours: np.ndarray | None
    fill: float

    @property
    def axes(self) -> tuple[int | None, ...]:
        return AXES[self.levels.ndim]

    def count(self, axis: int | None) -> int:
        return 1 if axis is None else self.levels.shape[axis]

    def image(self, axis: int | None, i: int, kind: str) -> str:
        """Grey levels of one slice, as what an `<img src>` takes."""
        options = {"quality": QUALITY} if kind == "jpeg" else {}
        return encoded(Image.fromarray(_cut(self.levels, axis, i)), kind, **options)

    def mask(self, axis: int | None, i: int) -> str:
        """What is laid over it; nothing for a scan without a mask."""
        if self.colours is None:
            return ""
        over = outlined(_cut(self.colours, axis, i), self.fill)
        return encoded(over, transparency=over.info["transparency"])

    def still(self, axis: int | None, i: int, shown: np.ndarray) -> str:
        """Both as one picture; `shown` gives the grey (uint8) of every level."""
        grey = Image.fromarray(shown[_cut(self.levels, axis, i)])
        if self.colours is None:
            return encoded(grey)
        over = outlined(_cut(self.colours, axis, i), self.fill).convert("RGBA")
        grey = grey.resize(over.size, Image.Resampling.BILINEAR).convert("RGBA")
        return encoded(Image.alpha_composite(grey, over).convert("RGB"))

    def fitting(self, at: dict[int | None, int], room: int) -> tuple[int, str]:
        """Every how many slices there is room for (characters), and as what; judged by those `at`."""
        for kind in ("png", "jpeg"):
            each = {a: len(self.image(a, i, kind) + self.mask(a, i)) for a, i in at.items()}
            size = sum(n * self.count(axis) for axis, n in each.items())
            if size <= room:
                return 1, kind
        return -(-size // room), kind


def _cut(array: np.ndarray, axis: int | None, i: int) -> np.ndarray:
    if axis is None:
        return np.ascontiguousarray(array)
    at = [0, 0, 0]
    at[axis] = i
    return np.ascontiguousarray(planes(array, at)[AXES[3].index(axis)])
