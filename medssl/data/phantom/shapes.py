"""Signed distances, smooth random fields and soft painting: what phantoms are drawn with.

Everything is a function of places in millimetres, so one patient looks the same on any grid.
Distances are negative inside. Points are float32 arrays (D, ...) with D = 2 or 3.
"""

import numpy as np

FAR = 30.0  # mm; beyond, only the sign of a distance matters


def grid(shape, affine: np.ndarray) -> np.ndarray:
    """World places (mm) of the voxels of a grid without rotation, (len(shape), *shape)."""
    axes = [
        np.arange(n, dtype=np.float32) * np.float32(affine[i, i]) + np.float32(affine[i, 3])
        for i, n in enumerate(shape)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def rotation(degrees) -> np.ndarray:
    """Rotation about the axes x, y, z in this order, (3, 3)."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[j, i], step[i, j] = np.sin(angle), -np.sin(angle)
        turn = step @ turn
    return turn


def move(points: np.ndarray, degrees, shift) -> np.ndarray:
    """Places seen from a body that lies rotated by `degrees` and shifted by `shift` mm."""
    turn = rotation(degrees).astype(np.float32)
    off = np.asarray(shift, np.float32).reshape(3, *[1] * (points.ndim - 1))
    return np.tensordot(turn.T, points - off, axes=1)


def waves(
    points: np.ndarray, rng: np.random.Generator, wavelength: float, count: int = 16
) -> np.ndarray:
    """A smooth random field of mean 0 and variance 1: plane waves of one length in all directions.

    Zero crossings lie about half a `wavelength` (mm) apart.
    """
    directions = rng.standard_normal((count, len(points)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = wavelength * rng.uniform(0.85, 1.2, count)
    numbers = (directions * (2 * np.pi / lengths)[:, None]).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
    field = np.zeros(points.shape[1:], np.float32)
    for number, phase in zip(numbers, phases, strict=True):
        angle = points[0] * number[0]
        for axis in range(1, len(points)):
            angle += points[axis] * number[axis]
        angle += phase
        field += np.sin(angle, out=angle)
    return field * np.float32(np.sqrt(2 / count))


def warp(points: np.ndarray, rng: np.random.Generator, size: float, wavelength: float):
    """Places after a smooth random displacement of standard deviation `size` mm per axis."""
    return points + np.float32(size) * np.stack(
        [waves(points, rng, wavelength, 6) for _ in range(len(points))]
    )


def ellipsoid(points: np.ndarray, centre, radii, degrees=None) -> np.ndarray:
    """Distance to an ellipsoid (an ellipse for D = 2), exact to first order at its surface.

    Where all points lie well outside, one lower bound stands for all distances.
    """
    away = _gap(points, centre, centre, np.max(radii))
    if away > FAR:
        return np.full(points.shape[1:], away, np.float32)
    column = (-1, *[1] * (points.ndim - 1))
    local = points - np.asarray(centre, np.float32).reshape(column)
    if degrees is not None:
        local = np.tensordot(rotation(degrees).T.astype(np.float32), local, axes=1)
    radii = np.asarray(radii, np.float32).reshape(column)
    local /= radii
    tiny = np.float32(1e-8)  # keeps level / slope at the smallest radius in the very centre
    level = np.sqrt(np.einsum("i...,i...->...", local, local) + tiny)
    local /= radii
    slope = np.sqrt(np.einsum("i...,i...->...", local, local) + tiny / radii.min() ** 2)
    return level * (level - 1) / slope


def tube(points: np.ndarray, joints, radii) -> np.ndarray:
    """Distance to a chain of capsules through `joints` (N, D) whose radius runs along `radii`."""
    joints = np.asarray(joints, np.float32)
    radii = np.broadcast_to(np.asarray(radii, np.float32), len(joints))
    column = (-1, *[1] * (points.ndim - 1))
    nearest = None
    for a, b, ra, rb in zip(joints[:-1], joints[1:], radii[:-1], radii[1:], strict=True):
        away = _gap(points, np.minimum(a, b), np.maximum(a, b), max(ra, rb))
        if away > FAR:
            nearest = away if nearest is None else np.minimum(nearest, away)
            continue
        local = points - a.reshape(column)
        along = np.clip(np.tensordot(b - a, local, axes=1) / np.float32((b - a) @ (b - a)), 0, 1)
        local -= (b - a).reshape(column) * along
        distance = np.sqrt(np.einsum("i...,i...->...", local, local)) - (ra + (rb - ra) * along)
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    return np.broadcast_to(np.float32(nearest), points.shape[1:])


def _gap(points: np.ndarray, low, high, margin: float) -> np.float32:
    """How far (mm) the points' bounding box lies from the box [low - margin, high + margin]."""
    axes = tuple(range(1, points.ndim))
    below = np.asarray(low) - margin - points.max(axes)
    above = points.min(axes) - np.asarray(high) - margin
    return np.float32(np.maximum(below, above).max())


def union(a: np.ndarray, b: np.ndarray, round_mm: float = 0.0) -> np.ndarray:
    """Distance to the union of two shapes; the crease is rounded over `round_mm`."""
    if not round_mm:
        return np.minimum(a, b)
    overlap = np.maximum(round_mm - np.abs(a - b), 0) / round_mm
    return np.minimum(a, b) - overlap * overlap * np.float32(round_mm / 4)


def cover(distance: np.ndarray, voxel: float) -> np.ndarray:
    """Share of each voxel of edge `voxel` mm that lies inside: partial volume without sampling."""
    return np.clip(0.5 - distance / np.float32(voxel), 0, 1)


def paint(image: np.ndarray, share: np.ndarray, value) -> None:
    """Blend `value` over `image` in place."""
    image += share * (value - image)
