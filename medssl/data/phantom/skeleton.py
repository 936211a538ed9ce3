"""The bones of the torso as pairs of signed distance (mm) and HU, in the order of painting."""

import numpy as np

from medssl.data.phantom import shapes
from medssl.data.phantom.torso import Anatomy

RIB_STEP, VERTEBRA_STEP = 25.0, 29.0  # mm
CORTEX, MARROW = 750.0, 320.0  # HU
Parts = list[tuple[np.ndarray, float]]


def bones(torso: Anatomy) -> Parts:
    return [*_spine(torso), *_ribs(torso), *_hips(torso)]


def _spine(torso: Anatomy) -> Parts:
    phase = torso.rng("spine").uniform(-8, 8)
    back = torso.spine_y()
    along = np.abs((torso.z + phase) % VERTEBRA_STEP - VERTEBRA_STEP / 2)
    wide = 21 - 0.03 * torso.z
    waist = 1.8 * np.cos(along * (np.pi / 12))
    disc = np.hypot(torso.x, (torso.y - back) * 1.25) - wide
    body = np.maximum(disc + waist, along - 11)
    arch_y = back - 26
    ring = np.abs(np.hypot(torso.x, (torso.y - arch_y) * 1.1) - 13) - 3.2
    canal = np.hypot(torso.x, torso.y - arch_y) - 9.5
    thorn = np.maximum(
        np.abs(torso.x) - 3.2, np.maximum(arch_y - 30 - torso.y, torso.y - arch_y + 11)
    )
    thorn = np.maximum(thorn, along - 9)
    thorn = np.maximum(thorn, torso.skin + 9)
    wings = np.maximum(np.abs(torso.y - arch_y - 3) - 4.5, np.abs(torso.x) - 36)
    wings = np.maximum(np.maximum(wings, 12 - np.abs(torso.x)), along - 5)
    arches = np.minimum(np.minimum(np.maximum(ring, along - 11), thorn), wings)
    return [
        (disc, 90.0), (body, CORTEX * 0.75), (body + 3.2, MARROW * 0.72),
        (arches, CORTEX * 0.7), (canal, 25.0),
    ]  # fmt: skip


def _ribs(torso: Anatomy) -> Parts:
    phase = torso.rng("ribs").uniform(-6, 6)
    height = torso.z + 0.52 * (torso.y + 60) + phase
    along = (height % RIB_STEP) - RIB_STEP / 2
    rib = np.hypot((torso.wall - 4.5) * 1.5, along * 0.86) - 6.4
    rib = np.maximum(rib, np.maximum(-75 - height, height - 196))
    rib = np.maximum(rib, np.where(height < 0, torso.y - 30 - 0.5 * height, -1e3))
    gristle = np.maximum(rib, np.abs(torso.x) - 70)
    bony = np.maximum(rib, np.where(torso.y > 0, 70 - np.abs(torso.x), 16 - np.abs(torso.x)))
    sternum = np.maximum(
        np.maximum(np.abs(torso.x) - 17, np.abs(torso.wall - 2) - 5.5), 45 - torso.z
    )
    sternum = np.maximum(np.maximum(sternum, torso.z - 155), -torso.y)
    front = np.maximum(np.maximum(gristle, -torso.y), 14 - np.abs(torso.x))
    blades = np.minimum.reduce([
        shapes.ellipsoid(torso.points, (s * 92, -66, 128), (32, 5, 46), (8, 0, s * 34))
        for s in (-1, 1)
    ])  # fmt: skip
    blades = np.maximum(blades, torso.skin + 6)
    return [
        (front, 110.0), (bony, CORTEX), (bony + 3, MARROW),
        (sternum, CORTEX * 0.65), (sternum + 3, MARROW * 0.6), (blades, CORTEX * 0.8),
    ]  # fmt: skip


def _hips(torso: Anatomy) -> Parts:
    bowl = shapes.ellipsoid(torso.points, (0, 6, -150), (112, 84, 96))
    wing = np.abs(bowl) - 5.5 - 4 * np.clip((-150 - torso.z) / 40, 0, 1)
    crest = -112 - 0.25 * np.abs(torso.y - 5)
    wing = np.maximum(np.maximum(wing, torso.z - crest), 40 - np.abs(torso.x))
    wing = np.maximum(wing, np.abs(torso.y + 5) - 62)
    sacrum = shapes.ellipsoid(torso.points, (0, -64, -192), (46, 22, 52))
    out = []
    for bone in (wing, sacrum):
        out += [(bone, CORTEX), (bone + 3.5, MARROW * 0.8)]
    return out
