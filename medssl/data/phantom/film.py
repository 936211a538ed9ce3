"""A chest film, posterior to anterior, as attenuation summed along the beam."""

import numpy as np
from scipy.ndimage import gaussian_filter

from medssl.data.phantom import shapes
from medssl.data.phantom.patients import has_finding
from medssl.data.phantom.thorax import Thorax
from medssl.seeding import generator

FINDING = "opacity"
SIZES = {"small": (256, 256), "standard": (512, 512)}
FIELD = 360.0  # mm, edge of the square detector
WHITE = 4095  # 12 bits, as a flat detector delivers
Box = tuple[float, float, float, float]


def spacing(size: str) -> float:
    """Pixel edge in mm."""
    return FIELD / SIZES[size][0]


def chest(
    seed: int, patient: int, scan: int = 0, size: str = "small", opacity: bool | None = None
) -> tuple[np.ndarray, Box | None]:
    """Film uint16 (rows, columns) of 0..4095, bone bright, and the box of the opacity or None.

    Row 0 is the top, column 0 the patient's right. The box is (column, row, width, height) in
    pixels. The anatomy and the opacity's place are functions of the patient; pose, breath, exposure
    and noise of the scan. `opacity` None draws a consolidation for one patient in two.
    """
    rows, columns = SIZES[size]
    pixel = spacing(size)
    rng = generator(seed, "phantom.film.scan", patient, scan)
    x = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * pixel
    z = ((rows - 1) / 2 - np.arange(rows, dtype=np.float32)) * pixel
    points = np.stack(np.meshgrid(x, z))  # (2, rows, columns), x to the patient's left
    turn = shapes.rotation((0, 0, rng.uniform(-2.5, 2.5)))[:2, :2].astype(np.float32)
    shift = rng.uniform(-7, 7, (2, 1, 1)).astype(np.float32)
    body = np.tensordot(turn.T, points - shift, axes=1) / np.float32(rng.uniform(0.96, 1.03))
    parts = Thorax(seed, patient, body, breath=rng.uniform(-6, 6))
    if opacity is None:
        opacity = has_finding(seed, "film", patient)

    depth = parts.soft_tissue() + parts.bones()
    box = None
    if opacity:
        shade = parts.consolidation()
        depth = depth + shade
        box = _box(shade)
    depth = gaussian_filter(depth, 0.6)
    scatter = gaussian_filter(depth, 40 / pixel, mode="nearest")
    depth = 0.88 * depth + 0.12 * scatter
    depth += 0.12 * (depth - gaussian_filter(depth, 12 / pixel))  # the maker's edge enhancement
    quanta = np.exp(-0.012 * np.clip(depth, 0, None)).astype(np.float32)
    grain = gaussian_filter(rng.standard_normal(depth.shape, np.float32), 0.5)
    depth = depth + np.float32(rng.uniform(1.0, 2.2)) * grain / np.sqrt(quanta)
    low, high = np.percentile(depth, [1.0, 99.3])
    level = (depth - low) / (high - low)
    exposure = np.exp(rng.uniform(-0.22, 0.22))
    level = np.clip(level * rng.uniform(0.86, 1.0) + rng.uniform(0.02, 0.08), 0, 1) ** exposure
    film = np.rint(WHITE * level)
    film[parts.marker(points)] = 0.97 * WHITE
    return film.astype(np.uint16), box


def _box(shade: np.ndarray) -> Box:
    """The smallest box around all pixels of at least a third of the opacity's depth."""
    inside = shade > shade.max() / 3
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    top, left = rows[0], columns[0]
    return float(left), float(top), float(columns[-1] - left + 1), float(rows[-1] - top + 1)
