"""Depths (mm of water) that an X-ray passes through in the parts of a chest.

Places are (2, rows, columns) millimetres on the film: x to the patient's left, z to the head.
"""

import numpy as np

from medssl.data.phantom import shapes
from medssl.seeding import generator

RIB_STEP = 23.0


class Thorax:
    """One patient's chest as the film sees it; the diaphragm moves by `breath` mm."""

    def __init__(self, seed: int, patient: int, points: np.ndarray, breath: float):
        self.seed, self.patient = seed, patient
        rng = self.rng("body")
        build = rng.uniform(0.94, 1.03, (2, 1, 1)).astype(np.float32)
        self.points = shapes.warp(points / build, rng, 2.2, 140)
        self.x, self.z = self.points
        self.thick = rng.uniform(185, 235)
        self.domes = np.array((-52.0, -62.0)) + rng.uniform(-5, 5, 2) + breath  # right, left
        self.heart_size = rng.uniform(0.88, 1.12)
        self.air = [self._lung(side) for side in (-1, 1)]

    def rng(self, organ: str) -> np.random.Generator:
        return generator(self.seed, f"phantom.film.{organ}", self.patient)

    def sphere(self, centre, radii, degrees: float = 0.0) -> np.ndarray:
        """Chord through an ellipsoid in units of its depth, 0 to 1."""
        turn = shapes.rotation((0, 0, degrees))[:2, :2].T.astype(np.float32)
        local = np.tensordot(turn, self.points - np.reshape(centre, (2, 1, 1)), axes=1)
        level = np.square(local / np.reshape(radii, (2, 1, 1))).sum(0)
        return np.sqrt(np.maximum(1 - level, 0)).astype(np.float32)

    def _lung(self, side: int) -> np.ndarray:
        """Chord through one lung, 0 to 1."""
        x = self.x * side  # lateral is positive
        wide = 66 + 5 * np.clip(-self.z / 90, -1, 1)
        middle = 73.0
        across = np.abs((x - middle) / wide)
        up = np.where(self.z > 10, (self.z - 10) / 122, (10 - self.z) / 240)
        level = across ** np.float32(2.6) + np.abs(up) ** np.float32(2.4)
        chord = np.maximum(1 - level, 0) ** np.float32(0.42)
        dome = self.domes[0 if side < 0 else 1]
        floor = dome - 0.0062 * np.square(x - 60) - 0.9 * np.maximum(x - 112, 0)
        above = np.clip((self.z - floor) / 34, 0, 1) ** np.float32(0.4)  # the dome falls off behind
        return chord * above

    def soft_tissue(self) -> np.ndarray:
        x, z = self.x, self.z
        rise = np.clip((z - 40) / 55, 0, 1)
        half = 158 + 8 * np.clip(-z / 180, 0, 1) + 50 * rise * rise * (3 - 2 * rise)
        torso = np.maximum(1 - np.abs(x / half) ** np.float32(3), 0) ** np.float32(0.45)
        crest = 178 - 0.30 * np.abs(x)  # of the shoulders
        torso = torso * np.clip((crest - z) / 60, 0, 1) ** np.float32(0.5)
        neck = 0.6 * np.sqrt(np.maximum(1 - np.square(x / 50), 0)) * np.clip((z - 80) / 40, 0, 1)
        body = self.thick * np.maximum(torso * (1 - 0.3 * np.clip((z - 118) / 60, 0, 1)), neck)
        belly = np.clip((self.domes.mean() - z) / 60, 0, 1)
        body = body * (1 + 0.12 * belly)
        lungs = sum(self.air)
        heart = self._heart()
        vessels = self._vessels()
        body = body - 0.66 * self.thick * np.clip(lungs * (1 - 0.58 * heart), 0, 1)
        body = body + 30 * heart + vessels * np.clip(lungs * 2, 0, 1)
        body = body + self._mediastinum()
        bubble = self.sphere((62, self.domes[1] - 22), (24, 13))
        return body - 55 * bubble + 2.0 * shapes.waves(self.points, self.rng("texture"), 11, 10)

    def _heart(self) -> np.ndarray:
        size = self.heart_size
        main = self.sphere((24, -34), (58 * size, 44 * size), -32)
        right = self.sphere((-12, -28), (32 * size, 40 * size))
        return np.maximum(main, right)

    def _mediastinum(self) -> np.ndarray:
        band = 62 * np.exp(-((np.abs(self.x - 2) / 25) ** 4))
        knob = 46 * self.sphere((22, 62), (17, 18)) + 30 * self.sphere((24, 32), (17, 15))
        cava = 22 * self.sphere((-20, 62), (13, 70))
        descending = 16 * np.exp(-(((self.x - 20) / 9) ** 4)) * (self.z < 62)
        windpipe = 24 * np.exp(-((self.x / 7.5) ** 4)) * np.clip((self.z - 50) / 12, 0, 1)
        forks = [shapes.tube(self.points, [(0, 54), (s * 34, 26)], 5) for s in (-1, 1)]
        forks = 14 * np.clip(0.5 - np.minimum(*forks) / 3, 0, 1)
        return band + knob + cava + descending - windpipe - forks

    def _vessels(self) -> np.ndarray:
        """Two trees from the hila; a vessel's depth is the chord of a tube."""
        rng = self.rng("vessels")
        total = np.zeros_like(self.x)
        for side in (-1, 1):
            hilum = np.array((side * 34.0, 22.0 + 5 * side))
            total += 24 * self.sphere(hilum, (13, 21), -12 * side)
            angles = np.linspace(-80, 82, 7) + rng.uniform(-8, 8, 7)
            twigs = [(hilum, a, rng.uniform(30, 44), 4.2) for a in angles]
            while twigs:
                start, angle, length, radius = twigs.pop()
                way = np.array((side * np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))))
                end = start + way * length
                self._add_rod(total, start, end, radius)
                if radius > 1.5:
                    twigs += [
                        (end, angle + turn + rng.uniform(-8, 8), length * 0.74, radius * 0.64)
                        for turn in (-19, 19)
                    ]
        return total

    def _add_rod(self, total: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float):
        (x, z), (half_x, half_z) = (start + end) / 2, np.abs(end - start) / 2 + radius
        near = np.nonzero((np.abs(self.x - x) < half_x) & (np.abs(self.z - z) < half_z))
        if len(near[0]):
            points = self.points[:, near[0], near[1]]
            axis = shapes.tube(points, [start, end], (radius, radius * 0.7)) + radius
            total[near] += 1.7 * np.sqrt(np.maximum(radius**2 - np.square(axis), 0))

    def bones(self) -> np.ndarray:
        return self._ribs() + self._spine() + self._shoulders()

    def _ribs(self) -> np.ndarray:
        phase = self.rng("ribs").uniform(-5, 5)
        side = np.abs(self.x)
        depth = np.zeros_like(side)
        for number in range(10):
            top = 124 - RIB_STEP * number + phase
            reach = 76 + 62 * np.sqrt(min(1.0, (number + 0.6) / 5))  # the cage widens downwards
            u = np.clip((side - 18) / (reach - 18), 0, 1)
            inside = np.clip((reach + 3 - side) / 4, 0, 1) * np.clip((side - 14) / 4, 0, 1)
            back = top + 10 * np.sin(np.pi * np.minimum(u * 1.25, 1)) - 54 * u**3.2
            steep = np.sqrt(1 + np.square(np.gradient(back, axis=1) / self._step()))
            depth += inside * self._plate((self.z - back) / steep, 6.2, 11 + 8 * u**6)
            if number < 7:
                front = top - 62 - 30 * (1 - u) - 12 * u * (1 - u) + 10 * u**4
                visible = inside * np.clip((u - 0.30) / 0.15, 0, 1)
                depth += visible * self._plate(self.z - front, 7.0, 7.5)
        return depth

    def _step(self) -> float:
        return float(abs(self.x[0, 1] - self.x[0, 0]))

    @staticmethod
    def _plate(off: np.ndarray, half: float, depth) -> np.ndarray:
        """Depth across a rib of half-width `half`: flat marrow between brighter rims of cortex."""
        level = np.square(off / half)
        outer = np.sqrt(np.maximum(1 - level**2, 0))
        inner = np.sqrt(np.maximum(1 - np.square(off / (half * 0.72)), 0))
        return depth * (1.45 * outer - 0.5 * inner)

    def _spine(self) -> np.ndarray:
        along = np.abs((self.z + 4) % 26 - 13)
        wide = 17 - 0.02 * self.z
        body = np.clip((wide - np.abs(self.x)) / 4, 0, 1) * (0.75 + 0.25 * (along < 10.5))
        rims = np.exp(-np.square((along - 11) / 1.6)) * (np.abs(self.x) < wide)
        thorn = np.exp(-np.square(self.x / 3) - np.square((along - 5) / 4.5))
        return 26 * body + 7 * rims + 12 * thorn

    def _shoulders(self) -> np.ndarray:
        depth = np.zeros_like(self.x)
        tilt = self.rng("shoulders").uniform(-4, 4)
        for side in (-1, 1):
            joints = [(14, 98), (48, 104), (88, 118 + tilt), (128, 124 + tilt), (160, 120)]
            collar = [(side * x, z) for x, z in joints]
            off = shapes.tube(self.points, collar, 0)
            depth += self._plate(off, 6.4, 17)
            blade = shapes.tube(self.points, [(side * 128, 104), (side * 136, 20)], (34, 7))
            cover = np.clip(0.5 - blade / 2, 0, 1)
            rim = np.exp(-np.square((blade + 2) / 2.2))
            depth += 9 * cover + 10 * rim
            humerus = self.sphere((side * 176, 104), (25, 27))
            depth += 40 * humerus
        return depth

    def consolidation(self) -> np.ndarray:
        """A cloudy patch in the outer two thirds of one lung."""
        rng = self.rng("opacity")
        side = 1 if rng.random() < 0.5 else -1
        low = max(self.domes) + 18
        centre = np.array((side * rng.uniform(62, 104), rng.uniform(low, 74)))
        radius = rng.uniform(20, 34)
        local = self.points - centre.reshape(2, 1, 1).astype(np.float32)
        away = np.hypot(local[0] / rng.uniform(0.85, 1.2), local[1]) / radius
        away = away + 0.14 * shapes.waves(self.points, rng, 30, 8)
        cloud = np.clip(1.25 - away, 0, 1)
        cloud = cloud * cloud * (3 - 2 * cloud)
        streaks = 1 + 0.10 * shapes.waves(self.points, rng, 13, 10)
        lung = np.clip(self.air[0 if side < 0 else 1] * 1.6, 0, 1)
        return (rng.uniform(48, 68) * cloud * streaks * lung).astype(np.float32)

    @staticmethod
    def marker(points: np.ndarray) -> np.ndarray:
        """The lead letter L beside the patient's left shoulder, on the detector."""
        x, z = points
        stroke = (np.abs(x - 152) < 2.2) & (np.abs(z - 152) < 11)
        foot = (np.abs(x - 157) < 7) & (np.abs(z - 143) < 2.2)
        return stroke | foot
