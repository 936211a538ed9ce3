"""Classes of a mask as what is laid over a picture: thin outlines, and tints if they are wanted."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from medssl.reports.style import COLOURS

SMOOTH = 256  # masks are enlarged to about so many pixels, so that outlines are thin


def coloured(mask: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """The number of each value's colour, 0 for all other values."""
    colours = np.zeros(mask.shape, np.uint8)
    for j, value in enumerate(values):
        colours[mask == value] = 1 + j % len(COLOURS)
    return colours


def outlined(colours: np.ndarray, fill: float = 0.0, width: int = 1) -> Image.Image:
    """Tints of opacity `fill`, and opaque outlines, `width` pixels wide; transparent elsewhere."""
    colours = np.kron(colours, np.ones([max(1, SMOOTH // max(colours.shape))] * 2, np.uint8))
    rim, w = np.pad(colours, width), width
    beside = (rim[w:-w, : -2 * w], rim[w:-w, 2 * w :], rim[: -2 * w, w:-w], rim[2 * w :, w:-w])
    edge = (colours > 0) & np.any([colours != b for b in beside], axis=0)
    picture = Image.fromarray(colours + len(COLOURS) * edge.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, *[c for k in 2 * COLOURS for c in ImageColor.getrgb(k)]])
    tint = round(255 * min(max(fill, 0), 1))
    picture.info["transparency"] = bytes([0, *[tint] * len(COLOURS), *[255] * len(COLOURS)])
    return picture
