"""A scan with its place in the world. The only module that knows affines."""

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """An image of one study.

    `array` has shape (C, X, Y, Z) for volumes and (C, rows, columns) for 2D films. `affine` is 4x4
    and maps voxel indices to RAS millimetres; for a film it holds the pixel spacing of rows and
    columns and no orientation. `modality` is the DICOM word: CT, MR, CR, DX, ... or "" if unknown.
    `remarks` say what was odd when its voxels were read.
    """

    array: np.ndarray
    affine: np.ndarray
    modality: str = ""
    remarks: tuple[str, ...] = ()

    def __post_init__(self):
        if self.array.ndim not in (3, 4):
            raise ValueError(
                f"array must be (C, X, Y, Z) or (C, rows, columns), got {self.array.shape}"
            )
        if np.shape(self.affine) != (4, 4):
            raise ValueError(f"affine must be 4x4, got {np.shape(self.affine)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, without channels."""
        return self.array.shape[1:]

    @property
    def ndim(self) -> int:
        """2 for a film, 3 for a volume."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each spatial axis, mm."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, : self.ndim], axis=0))

    @property
    def orientation(self) -> str:
        """Axis codes such as "RAS"; "" for a film."""
        return "".join(nib.aff2axcodes(self.affine)) if self.ndim == 3 else ""

    def with_array(self, array: np.ndarray) -> "Volume":
        return replace(self, array=array)


def reorient(volume: Volume, codes: str) -> Volume:
    """Permute and flip axes so that they run along `codes`; exact, voxels keep their world place."""
    if volume.ndim == 2 or volume.orientation == codes:
        return volume
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(volume.affine), nib.orientations.axcodes2ornt(codes)
    )
    array = np.stack([nib.orientations.apply_orientation(c, turn) for c in volume.array])
    affine = volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.shape)
    return replace(volume, array=np.ascontiguousarray(array), affine=affine)


def crop(volume: Volume, low, high) -> Volume:
    """The box [low, high) in voxels; the affine's origin moves along."""
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    offset = np.eye(4)
    offset[: volume.ndim, 3] = low
    return replace(volume, array=volume.array[(slice(None), *box)], affine=volume.affine @ offset)


def resized_affine(affine: np.ndarray, shape, new_shape) -> np.ndarray:
    """The affine after resizing a grid to `new_shape` over the same extent (edges stay in place)."""
    zoom, shift = np.eye(4), np.eye(4)
    for axis, (old, new) in enumerate(zip(shape, new_shape, strict=True)):
        zoom[axis, axis] = old / new
        shift[axis, 3] = (old / new - 1) / 2
    return affine @ shift @ zoom


def spacing_affine(spacing) -> np.ndarray:
    """The affine of a grid of which only the voxel size (mm) is known."""
    affine = np.eye(4)
    affine[range(len(spacing)), range(len(spacing))] = spacing
    return affine


def same_grid(a: Volume, b: Volume, tolerance: float = 0.01) -> bool:
    """Whether two volumes share shape and, within `tolerance` of a voxel, every corner's place."""
    return a.shape == b.shape and _apart(a, b) <= tolerance * min(a.spacing)


def differences(a: Volume, b: Volume) -> str:
    """How the grid of `b` differs from that of `a`, in words; mm."""
    words = []
    for what in ("shape", "spacing", "orientation"):
        was, found = (_shown(getattr(volume, what)) for volume in (a, b))
        if was != found:
            words.append(f"{what} {found}, not {was}")
    if a.shape == b.shape:
        words.append(f"corners up to {_apart(a, b):.3g} mm apart")
    return "; ".join(words)


def _apart(a: Volume, b: Volume) -> float:
    """The largest distance (mm) between corners of two grids of one shape."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape], indexing="ij"))
    corners = corners.reshape(a.ndim, -1)
    corners = np.vstack(
        [corners, np.zeros((3 - a.ndim, corners.shape[1])), np.ones(corners.shape[1])]
    )
    return float(np.linalg.norm(((a.affine - b.affine) @ corners)[:3], axis=0).max())


def _shown(value) -> str:
    return value if isinstance(value, str) else "x".join(f"{n:.4g}" for n in value)
