"""Shapes of the torso's organs as signed distances in body millimetres.

x runs to the patient's right, y to the front, z to the head; z = 0 lies at the top of the liver's
lower half, the pelvis is cut at about -190 and the lung apices reach +170.
"""

from functools import cached_property

import numpy as np

from medssl.data.phantom import shapes
from medssl.seeding import generator


class Anatomy:
    """One patient's organs at the places `points` (3, X, Y, Z); methods return distances, mm."""

    def __init__(self, seed: int, patient: int, points: np.ndarray):
        self.seed, self.patient = seed, patient
        rng = self.rng("body")
        build = rng.uniform(0.93, 1.03, 3)
        points = points / build.astype(np.float32).reshape(3, 1, 1, 1)
        self.points = shapes.warp(points, rng, 3.5, 150)
        self.fat = rng.uniform(9, 24)
        self.x, self.y, self.z = self.points

    def rng(self, organ: str) -> np.random.Generator:
        return generator(self.seed, f"phantom.ct.{organ}", self.patient)

    def blob(self, rng, centre, radii, degrees=None, wander=4.0, vary=0.08) -> np.ndarray:
        """An ellipsoid whose place (mm) and radii (share) differ between patients."""
        centre = np.asarray(centre) + rng.uniform(-wander, wander, 3)
        radii = np.asarray(radii) * rng.uniform(1 - vary, 1 + vary, 3)
        return shapes.ellipsoid(self.points, centre, radii, degrees)

    def texture(self, wavelength: float) -> np.ndarray:
        return shapes.waves(self.points, self.rng("texture"), wavelength, 10)

    def upward(self) -> np.ndarray:
        """Gravity in the lying patient, -1 (back) to 1 (front)."""
        return np.clip(self.y / 90, -1, 1)

    @cached_property
    def skin(self) -> np.ndarray:
        """Outline of the body: a flattened ellipse, wide at hips and chest."""
        return self._ring(0.0)

    @cached_property
    def muscle(self) -> np.ndarray:
        return self._ring(self.fat)

    @cached_property
    def wall(self) -> np.ndarray:
        """Inner face of ribs and abdominal muscles."""
        return self._ring(self.fat + 13)

    @cached_property
    def chest(self) -> np.ndarray:
        """The cavity above the diaphragm's rim."""
        return np.maximum(self.wall, -20 - self.z)

    def _ring(self, depth: float) -> np.ndarray:
        z = self.z
        taper = np.clip((z - 95) / 110, 0, 1) ** 2
        wide = 158 - 7 * np.exp(-(((z + 70) / 45) ** 2)) - 46 * taper - depth
        deep = 106 + 3 * np.exp(-(((z - 60) / 70) ** 2)) - 26 * taper - depth * 0.85
        u, v = np.abs(self.x) / wide, np.abs(self.y) / deep
        level = (u**2.5 + v**2.5) ** np.float32(0.4)
        slope = np.hypot(u / wide, v / deep) / np.maximum(np.hypot(u, v), 1e-3)
        return (level - 1) / slope

    def spine_y(self) -> np.ndarray:
        """Where the vertebral bodies' centres lie, front to back."""
        return -46 - 7 * np.sin((self.z - 10) / 75)

    def bowel(self) -> list[tuple[np.ndarray, float]]:
        """Loops in the abdominal fat: walls, content and some gas."""
        rng = self.rng("bowel")
        low = np.maximum(self.wall + 9, self.z + 30)
        low = np.maximum(low, -28 - self.y)
        field = shapes.waves(self.points, rng, 58, 12)
        loops = np.maximum((0.5 - np.abs(field)) * 9, low)
        gas = np.maximum(np.maximum((1.5 - field) * 9, loops + 4), 5 - self.y)
        return [(loops, 45.0), (loops + 4, 22.0), (gas, -900.0)]

    def soft_muscles(self) -> list[np.ndarray]:
        """Psoas, paraspinal muscles and the diaphragm's crura."""
        back = self.spine_y()
        out = []
        for side in (-1, 1):
            x = self.x * side
            wide = np.clip(26 - (self.z + 90) / 9, 4, 26)
            psoas = np.hypot(x - 34 - 0.08 * (-self.z), self.y - back - 2) - wide * 0.8
            out.append(np.maximum(psoas, self.z + 30))
            erector = np.hypot((x - 30) / 1.4, self.y - back + 32) - 17
            out.append(np.maximum(erector, self.skin + self.fat * 0.6))
        return out

    def stomach(self) -> list[tuple[np.ndarray, float]]:
        rng = self.rng("stomach")
        bag = shapes.union(
            self.blob(rng, (-58, 18, 0), (32, 34, 30)),
            self.blob(rng, (-30, 42, -35), (34, 22, 20)),
            14,
        )
        bag = np.maximum(bag, self.wall + 8)
        level = rng.uniform(22, 38)
        return [(bag, 55.0), (bag + 4, 25.0), (np.maximum(bag + 4, level - self.y), -950.0)]

    def spleen(self) -> np.ndarray:
        rng = self.rng("spleen")
        body = self.blob(rng, (-92, -36, -8), (37, 56, 54), (0, 0, -20))
        hollow = shapes.ellipsoid(self.points, (-50, 10, -6), (29, 34, 42))
        return np.maximum(np.maximum(body, -hollow), self.wall + 5)

    def liver(self) -> np.ndarray:
        rng = self.rng("liver")
        right = self.blob(rng, (66, -2, -34), (70, 80, 64))
        left = self.blob(rng, (0, 46, -18), (56, 30, 28), (0, 8, -8))
        whole = shapes.union(right, left, 20)
        # the visceral face runs obliquely from the right lower edge to the left lobe
        face = (-0.50 * (self.x - 40) - 0.42 * (self.y + 10) - 0.75 * (self.z + 52)) * 0.99
        face_low = np.maximum(face, 26 - self.x - 0.55 * (self.y + 10) - 12)
        whole = np.maximum(whole, np.minimum(face, face_low))
        spine = np.hypot(self.x, (self.y + 52) * 0.8) - 36
        return np.maximum(np.maximum(whole, -spine), self.wall + 5)

    def liver_veins(self) -> np.ndarray:
        rng = self.rng("veins")
        hub = np.array((18, -12, 4)) + rng.uniform(-3, 3, 3)
        ends = [(70, -50, -14), (82, 2, -6), (54, 44, -10), (96, -20, -46), (60, -10, -62)]
        distances = [
            shapes.tube(
                self.points, (hub, (hub + np.array(e)) / 2 + rng.uniform(-6, 6, 3), e), (5, 4, 2)
            )
            for e in ends
        ]
        return np.minimum.reduce(distances)

    def lesion(self) -> np.ndarray:
        rng = self.rng("lesion")
        centre = (rng.uniform(50, 92), rng.uniform(-38, 34), rng.uniform(-46, -4))
        radius = rng.uniform(14, 21)
        round_ = shapes.ellipsoid(self.points, centre, radius * rng.uniform(0.85, 1.15, 3))
        return round_ + 2.0 * shapes.waves(self.points, rng, 24, 8)

    def kidneys(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(kidney, medulla, sinus of fat) for the right and the left side."""
        rng, out = self.rng("kidneys"), []
        for side, height in ((1, -86), (-1, -70)):
            shift = rng.uniform(-4, 4, 3)
            centre = np.array((side * 62, -44, height)) + shift
            radii = np.array((25, 23, 48)) * rng.uniform(0.92, 1.06, 3)
            lean = (-6, side * 9, side * 20)
            kidney = shapes.ellipsoid(self.points, centre, radii, lean)
            medulla = shapes.ellipsoid(self.points, centre, radii * (0.6, 0.58, 0.74), lean)
            medulla += 1.6 * shapes.waves(self.points, rng, 17, 8)
            hilum = centre + (-side * 14, 7, 0)
            sinus = shapes.ellipsoid(self.points, hilum, (14, 8, 22), lean)
            out.append((np.maximum(kidney, self.wall + 2), medulla, sinus))
        return out

    def heart(self) -> np.ndarray:
        rng = self.rng("heart")
        shift = rng.uniform(-4, 4, 3)
        self.heart_at = np.array((-20, 26, 58)) + shift
        self.heart_turn = (12, 20, 28)
        self.heart_radii = np.array((52, 40, 42)) * rng.uniform(0.9, 1.08, 3)
        heart = shapes.ellipsoid(self.points, self.heart_at, self.heart_radii, self.heart_turn)
        return np.maximum(heart, self.wall + 8)

    def heart_chambers(self) -> list[np.ndarray]:
        """Left and right ventricle, both atria; call after `heart`."""
        places = [(-20, 5, -4), (-4, 22, 4), (26, 10, 4), (22, -19, 8)]
        radii = [(23, 16, 20), (30, 9, 22), (17, 17, 22), (20, 13, 18)]
        turn = shapes.rotation(self.heart_turn)
        heart = self.heart()
        return [
            np.maximum(
                shapes.ellipsoid(
                    self.points, self.heart_at + turn @ np.array(p), r, self.heart_turn
                ),
                heart + 4,
            )
            for p, r in zip(places, radii, strict=True)
        ]

    def lungs(self, heart: np.ndarray, liver: np.ndarray) -> np.ndarray:
        rng = self.rng("lungs")
        whole = None
        for side, dome_top in ((1, 24), (-1, 22)):
            dome_top += rng.uniform(-4, 4)
            lung = self.blob(rng, (side * 68, -8, 20), (66, 92, 154), wander=3, vary=0.05)
            dome = shapes.ellipsoid(self.points, (side * 68, 4, dome_top - 105), (80, 84, 105))
            lung = np.maximum(lung, -dome)
            lung = np.maximum(lung, 20 - side * self.x - 8 * np.exp(-((self.y - 40) ** 2) / 900))
            whole = lung if whole is None else np.minimum(whole, lung)
        middle = shapes.ellipsoid(self.points[:2], (0, -14), (31, 52))
        whole = np.maximum(np.maximum(whole, -middle), 4 - np.minimum(heart, liver))
        return np.maximum(np.maximum(whole, self.wall + 4), -25 - self.z)

    def lung_vessels(self) -> np.ndarray:
        """A net of curves, where two random fields vanish, thinning out from the hila."""
        rng = self.rng("lung vessels")
        hilum = np.sqrt((np.abs(self.x) - 32) ** 2 + (self.y + 8) ** 2 + (self.z - 78) ** 2)
        radius = 1.0 + 5.5 * np.exp(-hilum / 38)
        away = 0
        for _ in range(2):
            away = away + np.square(shapes.waves(self.points, rng, 46, 14))
        return np.sqrt(away) * np.float32(46 / (2 * np.pi)) - radius

    def great_vessels(self) -> list[np.ndarray]:
        """Aorta with its arch, inferior and superior vena cava, pulmonary arteries."""
        rng = self.rng("vessels")
        wide = rng.uniform(0.9, 1.1)
        down = [(-8, -20, -140), (-9, -24, -60), (-19, -36, 30), (-22, -38, 108)]
        arch = [(-18, -20, 124), (-4, 2, 126), (12, 16, 108), (6, 20, 80)]
        aorta = shapes.tube(
            self.points, down + arch, np.array((8, 9, 11, 12, 13, 14, 15, 15)) * wide
        )
        iliac = shapes.tube(self.points, [(-52, 6, -200), (-8, -20, -138), (42, 6, -200)], 6)
        inferior = shapes.tube(self.points, [(16, -24, -140), (20, -18, 0), (24, 0, 40)], 11 * wide)
        superior = shapes.tube(self.points, [(24, 8, 60), (25, 6, 150)], 9 * wide)
        lungs = shapes.tube(
            self.points,
            [(44, -10, 84), (12, -2, 92), (-14, 10, 96), (-44, -14, 92)],
            (7, 11, 13, 8),
        )
        return [lungs, inferior, superior, np.minimum(aorta, iliac)]

    def airways(self) -> list[tuple[np.ndarray, np.ndarray]]:
        fork = (2, -20, 106)
        windpipe = shapes.tube(self.points, [(2, -8, 200), fork], 9)
        right = shapes.tube(self.points, [fork, (38, -18, 76)], (7, 4))
        left = shapes.tube(self.points, [fork, (-44, -22, 80)], (6.5, 4))
        tree = np.minimum(windpipe, np.minimum(right, left))
        return [(tree - 1.5, tree)]
