"""Shapes of the head and brain as signed distances in head millimetres.

x runs to the patient's right, y to the front, z up; the origin lies between the thalami.
"""

from functools import cached_property

import numpy as np

from medssl.data.phantom import shapes
from medssl.seeding import generator

SULCUS_WAVELENGTH = 25.0


class Head:
    """One patient's head at the places `points` (3, X, Y, Z); methods return distances, mm."""

    def __init__(self, seed: int, patient: int, points: np.ndarray, atrophy: bool):
        self.seed, self.patient, self.atrophy = seed, patient, atrophy
        rng = self.rng("head")
        build = rng.uniform(0.94, 1.02, 3).astype(np.float32)
        self.points = shapes.warp(points / build.reshape(3, 1, 1, 1), rng, 1.6, 90)
        self.x, self.y, self.z = self.points
        self.wide = rng.uniform(1.5, 1.9) if atrophy else rng.uniform(0.8, 1.05)  # ventricles
        self.ribbon = np.float32(rng.uniform(3.6, 4.2) - 0.5 * atrophy)  # thickness of the cortex

    def rng(self, organ: str) -> np.random.Generator:
        return generator(self.seed, f"phantom.mr.{organ}", self.patient)

    def texture(self, wavelength: float) -> np.ndarray:
        return shapes.waves(self.points, self.rng("texture"), wavelength, 8)

    def sides(self, centre, radii, degrees=(0, 0, 0)) -> np.ndarray:
        """The union of an ellipsoid given for the right side and its mirror image."""
        (x, y, z), (a, b, c) = centre, degrees
        right = shapes.ellipsoid(self.points, (x, y, z), radii, (a, b, c))
        left = shapes.ellipsoid(self.points, (-x, y, z), radii, (a, -b, -c))
        return np.minimum(right, left)

    @cached_property
    def skull(self) -> np.ndarray:
        """Inner face of the skull: the vault and the posterior fossa."""
        vault = shapes.ellipsoid(self.points, (0, -6, 14), (69, 86, 64))
        temples = self.sides((40, 14, -20), (27, 40, 26))
        fossa = shapes.ellipsoid(self.points, (0, -51, -34), (56, 37, 29))
        base = shapes.ellipsoid(self.points, (0, 42, -60), (62, 56, 38))
        cranium = shapes.union(shapes.union(vault, temples, 16), fossa, 12)
        return np.maximum(cranium, -base)

    @cached_property
    def outline(self) -> np.ndarray:
        face = shapes.ellipsoid(self.points, (0, 36, -62), (56, 60, 72))
        nose = shapes.ellipsoid(self.points, (0, 94, -48), (13, 16, 22))
        neck = shapes.tube(self.points, [(0, -30, -50), (0, -34, -140)], 54)
        head = shapes.union(self.skull - 14.5, shapes.union(face, nose, 14), 30)
        return shapes.union(head, neck, 30)

    def flesh(self) -> np.ndarray:
        """Muscles of face, neck and temples inside the fat."""
        return np.maximum(self.outline + 8, np.minimum(self.z + 30, np.abs(self.z + 4) - 26))

    def face(self) -> list[np.ndarray]:
        """Orbital fat, eyeballs, air of the nose and its sinuses."""
        orbits = np.maximum(self.sides((31, 62, -26), (20, 28, 17), (0, 0, -14)), self.outline + 3)
        eyes = self.sides((32, 76, -26), (12, 12, 12))
        sinuses = self.sides((24, 58, -62), (15, 17, 17))
        nose = self.sides((6, 66, -52), (4, 26, 20))
        frontal = shapes.ellipsoid(self.points, (3, 86, -2), (14, 5, 10))
        air = np.minimum(np.minimum(sinuses, nose), frontal)
        throat = shapes.tube(self.points, [(0, 28, -64), (0, 14, -130)], 9)
        return [orbits, eyes, np.maximum(np.minimum(air, throat), self.outline + 4)]

    def cerebrum(self) -> tuple[np.ndarray, np.ndarray]:
        """(outline, depth below the nearest fluid): sulci are folds of a field that is constant
        along the radius, so they stand upright on the surface."""
        hull = shapes.ellipsoid(self.points, (0, -6, 15), (66.5, 83.5, 61))
        temples = self.sides((40, 14, -20), (25, 38, 23.5))
        vault = np.maximum(shapes.union(hull, temples, 8), self.skull + 2)
        tent = shapes.ellipsoid(self.points, (0, -52, -40), (62, 42, 34))
        cistern = shapes.ellipsoid(self.points, (0, -8, -34), (23, 26, 25))
        outline = np.maximum(vault, -np.minimum(tent, cistern))

        rng = self.rng("sulci")
        local = shapes.warp(self.points, rng, 3, 48) - np.array((0, -6, 10), np.float32).reshape(
            3, 1, 1, 1
        )
        scaled = local / np.array((66, 83, 60), np.float32).reshape(3, 1, 1, 1)
        radius = np.sqrt(np.einsum("i...,i...->...", scaled, scaled))
        surface = local / np.maximum(radius, 0.25) ** np.float32(0.8)
        field = shapes.waves(surface, rng, SULCUS_WAVELENGTH, 14)
        across = np.abs(field) * np.float32(SULCUS_WAVELENGTH / 7.5)
        depth = -outline
        floor = np.maximum(18 + 7 * shapes.waves(self.points, rng, 46, 6), 6)
        sulci = np.hypot(across, np.maximum(-vault - floor, 0))
        callosum = shapes.ellipsoid(self.points[1:], (-6, -2), (46, 30))  # bridges the hemispheres
        middle = np.hypot(self.x, np.maximum(-callosum, 0))
        side = np.abs(self.x)
        sylvian = np.abs(self.z + 3 - 0.28 * (self.y - 10) - 1.5 * field)
        sylvian = np.hypot(sylvian, np.maximum(0, np.maximum(38 - side, np.abs(self.y - 4) - 36)))
        gap = 1.1 if self.atrophy else 0.0
        fluid = np.minimum(np.minimum(sulci, middle), sylvian - 0.4) - np.float32(gap)
        return outline, np.minimum(fluid, depth)

    def caudate(self) -> np.ndarray:
        return self.sides((13.5 + 3 * (self.wide - 1), 20, 12), (5.5, 14, 8), (-20, 0, -8))

    def putamen(self) -> np.ndarray:
        rng = self.rng("putamen")
        at = np.array((26, 4, 2)) + rng.uniform(-1.5, 1.5, 3)
        return self.sides(at, np.array((6.5, 19, 11)) * rng.uniform(0.92, 1.08, 3), (0, 0, -12))

    def thalamus(self) -> np.ndarray:
        rng = self.rng("thalamus")
        at = np.array((11.5, -12, 5)) + rng.uniform(-1, 1, 3)
        return self.sides(at, np.array((9, 16, 10)) * rng.uniform(0.92, 1.08, 3), (0, 0, 22))

    def ventricles(self) -> np.ndarray:
        """The lateral ventricles with their horns, and the third."""
        wide, out = self.wide, None
        spread = 3 * (wide - 1)
        body = [(11, 36, 9), (9, 16, 20), (11, -10, 24), (19, -32, 18), (24, -40, 6)]
        for side in (-1, 1):
            mirror = np.array((side, 1, 1))
            chain = np.array([(x + spread, y, z) for x, y, z in body]) * mirror
            horn = np.array([(24 + spread, -40, 6), (33, -26, -12), (33, -4, -22)]) * mirror
            back = np.array([(24 + spread, -40, 6), (22, -62, 4)]) * mirror
            parts = [
                shapes.tube(self.points, chain, np.array((4, 6, 5.5, 6.5, 7)) * wide),
                shapes.tube(self.points, horn, np.array((5.5, 3, 2)) * wide),
                shapes.tube(self.points, back, np.array((5, 2)) * wide),
            ]
            tube = shapes.union(shapes.union(parts[0], parts[1], 4), parts[2], 4)
            out = tube if out is None else np.minimum(out, tube)
        septum = 0.8 - np.abs(self.x)
        third = shapes.ellipsoid(self.points, (0, -6, 0), (1.8 * wide + 0.6, 15, 12))
        return np.minimum(np.maximum(out, septum), third)

    def cerebellum(self) -> tuple[np.ndarray, np.ndarray]:
        """(outline, white matter): a tree whose leaves follow shells around its trunk."""
        rng = self.rng("cerebellum")
        size = rng.uniform(0.94, 1.04)
        lobes = self.sides((25, -54, -36), np.array((29, 28, 23)) * size, (0, 0, 12))
        worm = shapes.ellipsoid(self.points, (0, -55, -33), np.array((14, 25, 24)) * size)
        outline = shapes.union(lobes, worm, 6)
        shells = shapes.ellipsoid(self.points, (0, -30, -26), (60, 52, 34), (12, 0, 0))
        leaves = np.sin(shells * np.float32(2 * np.pi / 6.5)) * 1.6
        trunk = self.sides((17, -44, -34), (17, 15, 7))
        outline = np.maximum(outline, self.skull + 2)
        return outline, np.minimum(trunk, np.maximum(leaves + 0.6, outline + 4))

    def brainstem(self) -> np.ndarray:
        stem = shapes.tube(
            self.points,
            [(0, -14, -9), (0, -16, -20), (0, -20, -46), (0, -30, -66), (0, -36, -140)],
            (14, 13, 12, 8.5, 7),
        )
        pons = shapes.ellipsoid(self.points, (0, -12, -30), (18, 14, 15))
        return np.maximum(shapes.union(stem, pons, 8), self.z + 7)

    def fourth_ventricle(self) -> np.ndarray:
        size = 1 + 0.35 * (self.wide - 1)
        return shapes.ellipsoid(self.points, (0, -32, -34), np.array((7, 4.5, 11)) * size)
