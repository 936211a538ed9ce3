"""What every reader asks of a scan before it is used."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from medssl.errors import UserError

BOMB_BYTES, BOMB_RATIO = 256 << 20, 200
DEFLATE_LIMIT = 1100  # deflate cannot pack tighter than about 1032:1
MAX_BYTES = 64 << 30
POSSIBLE_MM, USUAL_MM = (1e-4, 1e4), (0.02, 20.0)
OUTLIER = 1e6
SAMPLE = 200_000


def affine(matrix: np.ndarray, path: Path) -> list[str]:
    """Remarks on odd but usable geometry. Raises UserError GEOMETRY for unusable affines (mm)."""
    if not np.isfinite(matrix).all():
        raise UserError("GEOMETRY", path, "the affine holds NaN or infinity", "export it again")
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    if sizes.min() <= 0 or abs(np.linalg.det(matrix[:3, :3] / sizes)) < 1e-3:
        cause = f"the affine is singular (voxel sizes {np.round(sizes, 4).tolist()} mm)"
        raise UserError("GEOMETRY", path, cause, "export it again")
    remarks = voxel_size(sizes, path)
    axes = matrix[:3, :3] / sizes
    skew = np.abs(axes.T @ axes - np.eye(3)).max()
    if skew > np.sin(np.deg2rad(0.5)):
        remarks.append(f"axes are sheared by {np.rad2deg(np.arcsin(min(skew, 1))):.1f} degrees")
    return remarks


def voxel_size(sizes: Sequence[float], path: Path) -> list[str]:
    """A remark on unusual sizes (mm). Raises UserError GEOMETRY for what no scanner makes."""
    shown = "x".join(f"{s:.4g}" for s in sizes)
    if not (min(sizes) >= POSSIBLE_MM[0] and max(sizes) <= POSSIBLE_MM[1]):
        raise UserError(
            "GEOMETRY", path, f"voxel size {shown} mm", "export it with voxel sizes in mm"
        )
    if min(sizes) < USUAL_MM[0] or max(sizes) > USUAL_MM[1]:
        return [f"unusual voxel size {shown} mm"]
    return []


def place(matrix: np.ndarray) -> tuple[float, ...]:
    """The upper three rows of an affine, in thousandths of a mm: alike for files of one grid."""
    return tuple(np.round(matrix[:3].ravel(), 3).tolist())


def orientation(matrix: np.ndarray) -> str:
    """Axis codes such as RAS."""
    return "".join(nib.aff2axcodes(matrix))


def size(expected: int, stored: int, packed: bool, path: Path) -> None:
    """Compare the bytes a header promises with the bytes in the file, before reading any.

    Raises UserError CUT if there are too few, TOO_LARGE if unpacking would flood the memory.
    """
    fix = "fetch the file again"
    if stored * (DEFLATE_LIMIT if packed else 1) < expected:
        cause = f"found {stored} bytes, expected {expected}"
        raise UserError("CUT", path, f"{cause} after unpacking" if packed else cause, fix)
    if packed:
        bomb(expected, stored, path)
    if expected > MAX_BYTES:
        cause = f"{expected} bytes of voxels, at most {MAX_BYTES} are read"
        raise UserError("TOO_LARGE", path, cause, "split it")


def bomb(expected: int, stored: int, path: Path, least: int | None = None) -> None:
    """Raises UserError TOO_LARGE if `stored` bytes unpack to more than any genuine scan does.

    Nothing below `least` bytes unpacked (256 MiB if not given) is a bomb.
    """
    if expected > max(BOMB_RATIO * stored, BOMB_BYTES if least is None else least):
        cause = f"{stored} bytes would unpack to {expected}"
        raise UserError("TOO_LARGE", path, cause, "unpack it first if it is genuine")


def finite(array: np.ndarray, path: Path) -> None:
    """Raises UserError NONFINITE if any voxel is NaN or infinite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        cause = f"{count} of {array.size} voxels are NaN or infinite"
        raise UserError("NONFINITE", path, cause, "replace them by a value that means outside")


def values(array: np.ndarray) -> list[str]:
    """Remarks on finite but odd voxels: all alike, or one far beyond all others."""
    low, high = (float(v) for v in (array.min(), array.max()))
    if low == high:
        return [f"all voxels have the value {low:g}"]
    if array.dtype.itemsize < 4:  # nothing in 16 bits is far beyond
        return []
    step = max(1, array.size // SAMPLE)
    usual = float(np.percentile(np.abs(array.ravel()[::step]), 99, method="lower"))
    if max(-low, high) > OUTLIER * max(usual, 1.0):
        return [f"voxels reach from {low:g} to {high:g}, 99 % of them stay below {usual:g}"]
    return []


def compact(array: np.ndarray, path: Path) -> np.ndarray:
    """The same values in a type the rest of the chain reads: (u)int8, (u)int16, int32, float32.

    Raises UserError DTYPE for integers that do not fit in 32 bits.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.itemsize > 4 or array.dtype == np.uint32:
        limits = np.iinfo(np.int32)
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            cause = f"{array.dtype} voxels reach beyond 32 bits"
            raise UserError("DTYPE", path, cause, "save it as int32 or float32")
        return array.astype(np.int32)
    return array
