"""A T1-weighted MR of the head with a mask of five structures."""

import numpy as np
from scipy.ndimage import gaussian_filter

from medssl.data.phantom import shapes
from medssl.data.phantom.brain import Head
from medssl.data.phantom.patients import has_finding
from medssl.seeding import generator

CLASSES = {"ventricles": 1, "thalamus": 2, "putamen": 3, "cerebellum": 4, "brainstem": 5}
FINDING = "atrophy"
GRIDS = {
    "small": ((56, 64, 56), (3.4, 3.4, 3.4)),
    "standard": ((160, 192, 160), (1.2, 1.15, 1.2)),
}
# T1-weighted signal relative to white matter
SKIN, FAT, MUSCLE, BONE, MARROW, FLUID = 0.6, 1.15, 0.5, 0.06, 0.5, 0.2
GREY, WHITE, NUCLEI, EYE, AIR = 0.66, 1.0, 0.76, 0.24, 0.03
SLAB_VOXELS = 120_000


def head(
    seed: int, patient: int, scan: int = 0, size: str = "small", atrophy: bool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal int16 (X, Y, Z) in arbitrary units, mask uint8 (X, Y, Z) and affine, axes RAS+.

    The anatomy is a function of the patient; pose, coil shading, intensity scale, contrast and
    noise of the scan. `atrophy` widens ventricles and sulci; None draws it for one in two patients.
    """
    shape, spacing = GRIDS[size]
    rng = generator(seed, "phantom.mr.scan", patient, scan)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    world = shapes.grid(shape, affine)
    pose = rng.uniform(-4, 4, 3), rng.uniform(-2.5, 2.5, 3)
    origin = np.rint(rng.uniform(-20, 20, 3))
    if atrophy is None:
        atrophy = has_finding(seed, "mr", patient)

    signal, mask = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    thick = max(1, SLAB_VOXELS // (shape[0] * shape[1]))
    for low in range(0, shape[2], thick):
        slab = np.s_[..., low : low + thick]
        parts = Head(seed, patient, shapes.move(world[slab].copy(), *pose), atrophy)
        signal[slab], mask[slab] = _paint(parts, float(np.mean(spacing)))
    signal = signal ** np.float32(rng.uniform(0.85, 1.2))
    signal *= np.exp(np.float32(rng.uniform(0.08, 0.2)) * shapes.waves(world, rng, 260, 5))
    signal = gaussian_filter(signal, 0.45)
    noise = rng.uniform(0.015, 0.035) * rng.standard_normal((2, *shape), np.float32)
    signal = np.hypot(signal + noise[0], noise[1])  # magnitude image: Rician noise
    signal = np.clip(np.rint(signal * rng.uniform(150, 1800)), 0, 32767).astype(np.int16)
    affine[:3, 3] += origin
    return signal, mask, affine


def _paint(parts: Head, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    image = np.full(parts.x.shape, AIR, np.float32)
    mask = np.zeros(parts.x.shape, np.uint8)

    def paint(distance, value, name=None):
        shapes.paint(image, shapes.cover(distance, voxel), value)
        if name:
            mask[distance < 0] = CLASSES[name]

    mottle = parts.texture(14)
    paint(parts.outline, SKIN)
    paint(parts.outline + 2.5, FAT + 0.05 * mottle)
    paint(parts.flesh(), MUSCLE + 0.04 * mottle)
    for distance, value in zip(parts.face(), (FAT, EYE, AIR), strict=True):
        paint(distance, value)
    paint(parts.skull - 7.5, BONE)
    paint(np.abs(parts.skull - 4) - 1.3, MARROW)
    paint(parts.skull, FLUID)
    cerebrum, to_fluid = parts.cerebrum()
    paint(cerebrum, FLUID)
    paint(0.7 - to_fluid, GREY + 0.02 * mottle)
    paint(parts.ribbon - to_fluid, WHITE + 0.02 * mottle)
    paint(parts.caudate(), NUCLEI)
    paint(parts.putamen(), NUCLEI, "putamen")
    paint(parts.thalamus(), NUCLEI + 0.06, "thalamus")
    paint(parts.ventricles(), FLUID, "ventricles")
    cerebellum, folia = parts.cerebellum()
    paint(cerebellum - 1.5, FLUID)
    paint(cerebellum, GREY, "cerebellum")
    paint(np.maximum(folia, cerebellum + 1), WHITE - 0.04)
    stem = parts.brainstem()
    paint(stem - 2, FLUID)
    paint(stem, WHITE - 0.1 + 0.02 * mottle, "brainstem")
    fourth = parts.fourth_ventricle()
    paint(fourth, FLUID, "ventricles")
    return image, mask
