"""A CT of the torso, from the pelvis to the lung apices, with a mask of five organs."""

import numpy as np
from scipy.ndimage import gaussian_filter

from medssl.data.phantom import shapes, skeleton
from medssl.data.phantom.patients import has_finding
from medssl.data.phantom.torso import Anatomy
from medssl.seeding import generator

CLASSES = {"liver": 1, "spleen": 2, "kidneys": 3, "lungs": 4, "heart": 5}
FINDING = "lesion"
GRIDS = {
    "small": ((72, 56, 64), (5.0, 5.0, 6.0)),
    "standard": ((192, 152, 160), (2.0, 2.0, 2.4)),
}
AIR, LUNG, FAT, MUSCLE = -1000.0, -850.0, -100.0, 50.0  # HU
SLAB_VOXELS = 120_000


def torso(
    seed: int, patient: int, scan: int = 0, size: str = "small", lesion: bool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU int16 (X, Y, Z), mask uint8 (X, Y, Z) and affine, axes RAS+.

    The anatomy is a function of the patient; pose, breath, contrast and noise of the scan.
    `lesion` puts a metastasis into the liver or not; None draws it for one patient in two.
    """
    shape, spacing = GRIDS[size]
    rng = generator(seed, "phantom.ct.scan", patient, scan)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    world = shapes.grid(shape, affine)
    pose = rng.uniform(-2.5, 2.5, 3), rng.uniform(-5, 5, 3)
    breath = np.float32(rng.uniform(-6, 6))
    contrast = {
        "blood": rng.uniform(135, 165),
        "liver": rng.uniform(65, 105),
        "spleen": rng.uniform(100, 120),
        "kidneys": rng.uniform(140, 165),
    }
    table_zero = np.rint(rng.uniform(-300, 300))
    if lesion is None:
        lesion = has_finding(seed, "ct", patient)

    hu, mask = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    thick = max(1, SLAB_VOXELS // (shape[0] * shape[1]))
    for low in range(0, shape[2], thick):  # slabs stay in the cache and miss most organs
        slab = np.s_[..., low : low + thick]
        body = shapes.move(np.ascontiguousarray(world[slab]), *pose)
        body[2] += breath * np.exp(-((body[2] / 90) ** 2))
        parts = Anatomy(seed, patient, body)
        hu[slab], mask[slab] = _paint(parts, world[slab], float(np.mean(spacing)), contrast, lesion)
    edge = float(np.min(spacing))
    hu = gaussian_filter(hu, [0.9 / edge + 0.25] * 3)
    hu = np.clip(np.rint(hu + _noise(hu, world, edge, rng)), -1024, 2000).astype(np.int16)
    affine[2, 3] += table_zero
    return hu, mask, affine


def _paint(parts: Anatomy, world: np.ndarray, voxel: float, contrast: dict, lesion: bool):
    blood, liver_hu = contrast["blood"], contrast["liver"]
    hu = np.full(world.shape[1:], AIR, np.float32)
    mask = np.zeros(world.shape[1:], np.uint8)

    def paint(distance, value, name=None):
        """Blend a part in; its voxels carry the class `name`, or none any more."""
        shapes.paint(hu, shapes.cover(distance, voxel), value)
        mask[distance < 0] = CLASSES.get(name, 0)

    def tint(distance, value):
        """Blend in what lies inside an organ and keeps its class."""
        shapes.paint(hu, shapes.cover(distance, voxel), value)

    for distance, value in table(world):
        tint(distance, value)
    mottle = parts.texture(28)
    paint(parts.skin, -20.0)
    paint(parts.skin + 2.5, FAT + 6 * mottle)
    paint(parts.muscle, MUSCLE + 6 * mottle)
    paint(parts.wall, FAT + 15 + 12 * mottle)
    paint(parts.chest, -25.0 + 55 * np.tanh(1.5 * mottle))
    for distance, value in [*parts.bowel(), *parts.stomach()]:
        paint(distance, value)
    for distance in parts.soft_muscles():
        paint(distance, MUSCLE + 5)
    paint(parts.spleen(), contrast["spleen"] + 3 * mottle, "spleen")
    liver = parts.liver()
    paint(liver, liver_hu + 3 * mottle, "liver")
    tint(np.maximum(parts.liver_veins(), liver + 6), liver_hu + 45)
    if lesion:
        tint(np.maximum(parts.lesion(), liver), liver_hu - 62)
        tint(np.maximum(parts.lesion() + 8, liver), 5.0)
    for kidney, medulla, sinus in parts.kidneys():
        paint(kidney, contrast["kidneys"] + 15, "kidneys")
        tint(medulla, contrast["kidneys"] - 25)
        paint(sinus, FAT + 40)
    heart = parts.heart()
    lungs = parts.lungs(heart, liver)
    paint(lungs, LUNG + 18 * mottle - 40 * parts.upward(), "lungs")
    tint(np.maximum(parts.lung_vessels(), lungs), 0.6 * blood)
    paint(heart - 2, MUSCLE - 80)
    paint(heart, 90.0, "heart")
    for distance in parts.heart_chambers():
        tint(distance, blood)
    for distance in parts.great_vessels():
        paint(distance, blood)
    for wall, lumen in parts.airways():
        paint(wall, MUSCLE - 40)
        paint(lumen, AIR)
    for distance, value in skeleton.bones(parts):
        paint(distance, value)
    return hu, mask


def table(world: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """The curved couch under the patient: a carbon shell and its foam."""
    sag = world[1] + 121 - np.square(world[0]) / 1500
    side = np.abs(world[0]) - 165
    slab = np.maximum(np.abs(sag + 7) - 7, side)
    return [(slab, -150.0), (np.maximum(slab + 3, side + 3), -930.0)]


def _noise(hu: np.ndarray, world: np.ndarray, edge: float, rng) -> np.ndarray:
    """Correlated grain, stronger where the beam has come through more tissue, HU."""
    grain = rng.standard_normal(hu.shape, np.float32)
    grain = gaussian_filter(grain, 0.55) - 0.6 * gaussian_filter(grain, 1.4)
    grain /= grain.std()
    depth = np.exp(-(np.square(world[0] / 170) + np.square(world[1] / 120)))
    level = rng.uniform(7, 12) * (1.3 if edge < 3 else 1.0)
    return np.float32(level) * (0.45 + depth) * grain
