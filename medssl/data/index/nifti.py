"""NIfTI-1 and NIfTI-2, plain, gzipped or as .hdr/.img pair, told by content.

Bytes are unpacked here and not by nibabel, which trusts the suffix and never checks the gzip CRC.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medssl.data.index import checks, stored
from medssl.data.index.row import Row, each, join
from medssl.data.volume import Volume
from medssl.errors import UserError

HEADER_BYTES = 544
CIFTI = range(3000, 3100)
LABELS = 1002
BLOCK = 1 << 20


@dataclass
class Header:
    """What is needed of a NIfTI header; `data` is the file that holds the voxels."""

    path: Path
    data: Path
    packed: bool
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    scale: tuple[float, float]
    affine: np.ndarray
    remarks: list[str]
    space: int  # the standard's code of where the affine leads to; 0: unknown

    @property
    def expected(self) -> int:
        """Bytes up to the last voxel, unpacked."""
        return self.offset + int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def inspect(paths: list[Path], workers: int = 0) -> list[Row]:
    """One row a file, from headers only; NIfTI does not know its modality."""
    return list(each(paths, "nifti", _inspect_one, workers))


def read(paths: list[Path]) -> Volume:
    """One volume (1, X, Y, Z); a gzipped file is read to its end, so that its checksum counts.

    Integers stay integers unless the header scales them by a fraction. Raises UserError.
    """
    header = read_header(paths[0])
    raw, remarks = stored.voxels(header.data, 0, header.expected, header.packed)
    count = int(np.prod(header.shape))
    array = np.frombuffer(raw, header.dtype, count, header.offset).reshape(header.shape, order="F")
    array = checks.compact(_scaled(array, *header.scale), header.path)
    return Volume(array[None], header.affine, remarks=tuple(remarks))


def read_header(path: Path) -> Header:
    """Parse and check a header. Raises UserError."""
    packed, head = _head(path)
    two = int.from_bytes(head[:4], "little") == 540 or int.from_bytes(head[:4], "big") == 540
    kind = nib.Nifti2Header if two else nib.Nifti1Header
    header = kind(head[: kind.template_dtype.itemsize], check=False)
    single = header["magic"].item()[:3] in (b"n+1", b"n+2")
    start = _start(header, path, single)
    data = path if single else _image_file(path)
    if int(header["intent_code"]) in CIFTI:
        raise UserError("NOT_IMAGE", path, "a CIFTI matrix, no image", "")
    remarks = _suffix_remarks(path, packed, single)
    affine = _affine(header, path, remarks)
    if int(header["intent_code"]) == LABELS:
        remarks.append("its header says that it holds labels, as masks do")
    result = Header(
        path, data, stored.is_gzip(data), _shape(header, path), _dtype(header, path),
        start, _scale(header, path), affine, remarks,
        int(header["sform_code"]) or int(header["qform_code"]),
    )  # fmt: skip
    found = data.stat().st_size
    checks.size(result.expected, found, result.packed, data)
    if not result.packed and found > result.expected:
        remarks.append(f"{found - result.expected} bytes after the voxels ignored")
    if result.packed and _trailer(data) != result.expected % 2**32:
        remarks.append("the gzip trailer gives another size than the header")
    return result


def _inspect_one(path: Path) -> Row:
    header = read_header(path)
    files = [path] if header.data == path else [path, header.data]
    return Row(
        files, "nifti", shape=join(header.shape),
        spacing=join(np.linalg.norm(header.affine[:3, :3], axis=0).tolist()),
        orientation=checks.orientation(header.affine), remarks=header.remarks,
        place=checks.place(header.affine),
        whole=header.dtype.kind in "iu" and header.scale == (1.0, 0.0),
    )  # fmt: skip


def _head(path: Path) -> tuple[bool, bytes]:
    with open(path, "rb") as stream:
        head = stream.read(BLOCK if stored.is_gzip(path) else HEADER_BYTES)
    packed = head[:2] == b"\x1f\x8b"
    if packed:
        head = zlib.decompressobj(31).decompress(head, HEADER_BYTES)
    if len(head) < 348:
        cause = f"the header has {len(head)} bytes, expected 348"
        raise UserError("CUT", path, cause, "fetch the file again")
    return packed, head


def _start(header, path: Path, single: bool) -> int:
    """Where the voxels begin, in bytes. Raises UserError HEADER for a place inside the header."""
    size, start = int(header["sizeof_hdr"]), float(header["vox_offset"])
    least = header.template_dtype.itemsize + 4 if single else 0
    if size != header.template_dtype.itemsize:
        cause = f"sizeof_hdr is {size}, expected {header.template_dtype.itemsize}"
        raise UserError("HEADER", path, cause, "fetch or export it again")
    if not (start >= least and start.is_integer()):
        cause = f"vox_offset is {start:g}, expected {least} or more"
        raise UserError("HEADER", path, cause, "fetch or export it again")
    return int(start)


def _trailer(path: Path) -> int:
    """The unpacked size (modulo 2^32) that a gzip file ends with."""
    with open(path, "rb") as stream:
        stream.seek(-4, 2)
        return int.from_bytes(stream.read(4), "little")


def _image_file(path: Path) -> Path:
    base = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    for suffix in (".img", ".IMG", ".img.gz"):
        image = base.with_suffix(suffix)
        if image.is_file() and image != path:
            return image
    raise UserError("MISSING", path, "the .img file beside this header is missing", "add it")


def _suffix_remarks(path: Path, packed: bool, single: bool) -> list[str]:
    if path.name.lower().endswith(".gz") != packed:
        return [f"the file is {'' if packed else 'not '}gzipped, against its suffix"]
    return []


def _shape(header, path: Path) -> tuple[int, int, int]:
    sizes = [int(n) for n in header["dim"]]
    if not 1 <= sizes[0] <= 7 or min(sizes[1 : sizes[0] + 1]) < 1:
        raise UserError(
            "HEADER", path, f"dim is {sizes}, sizes must be positive", "export it again"
        )
    shape = sizes[1 : sizes[0] + 1]
    extra = [n for n in shape[3:] if n > 1]
    if extra:
        cause = f"a 4D series of shape {join(shape)}"
        raise UserError("SERIES_4D", path, cause, "split it into one file a volume")
    return tuple((shape + [1, 1])[:3])


def _dtype(header, path: Path) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError) as error:
        cause = f"unknown datatype code {int(header['datatype'])}"
        raise UserError("DTYPE", path, cause, "save it as int16 or float32") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        cause = f"voxels are {'colour' if dtype.names else dtype}, expected one real number each"
        raise UserError("DTYPE", path, cause, "save it as int16 or float32")
    return dtype


def _scale(header, path: Path) -> tuple[float, float]:
    if "scl_slope" not in header.template_dtype.names:
        return 1.0, 0.0
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):  # the standard's way to say: not scaled
        return 1.0, 0.0
    if not np.isfinite([slope, shift]).all():
        cause = f"scl_slope {slope} and scl_inter {shift} must be finite"
        raise UserError("SCALE", path, cause, "export it again")
    return slope, shift


def _scaled(array: np.ndarray, slope: float, shift: float) -> np.ndarray:
    if (slope, shift) == (1.0, 0.0):
        return array
    scaled = array * np.float64(slope) + shift
    if array.dtype.kind in "iu" and slope.is_integer() and shift.is_integer():
        scaled = np.rint(scaled)
        if np.abs(scaled).max(initial=0) < 2**31:
            return scaled.astype(np.int32)
    return scaled


def _affine(header, path: Path, remarks: list[str]) -> np.ndarray:
    """The sform if its code is set, else the qform, else voxel sizes alone; units of mm."""
    steps = [float(s) for s in header["pixdim"][1:4]]
    if not np.isfinite(steps).all() or 0 in steps[: max(int(header["dim"][0]), 1)]:
        raise UserError("GEOMETRY", path, f"pixdim is {steps} mm", "export it with voxel sizes")
    if min(steps) < 0:
        remarks.append("negative pixdim")
    affine = np.asarray(header.get_best_affine(), np.float64)
    remarks += checks.affine(affine, path)
    codes = int(header["sform_code"]), int(header["qform_code"])
    if codes == (0, 0):
        remarks.append("orientation unknown (sform and qform codes are 0)")
    elif min(codes) > 0:
        remarks += _contradiction(header, affine, same_space=min(codes) == max(codes))
    given, used = np.abs(steps), np.linalg.norm(affine[:3, :3], axis=0)
    if codes[0] > 0 and not np.allclose(given, used, rtol=0.01, atol=1e-4):
        remarks.append(
            f"pixdim says {join(given.tolist())} mm, the sform {join(used.tolist())}; sform used"
        )
    unit = header.get_xyzt_units()[0] if int(header["xyzt_units"]) & 7 in (0, 1, 2, 3) else "odd"
    if unit not in ("mm", "unknown"):
        remarks.append(f"the header's length unit is {unit}; read as mm")
    return affine


def _contradiction(header, affine: np.ndarray, same_space: bool) -> list[str]:
    """A remark if qform and sform lead to one space but differ, or mirror each other."""
    try:
        other = header.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return ["the qform holds no rotation; sform used"]
    corners = np.array([[*at, 1] for at in np.ndindex(2, 2, 2)]) * [*header["dim"][1:4], 1]
    off = np.linalg.norm(((other - affine) @ corners.T)[:3], axis=0).max()
    mirrored = np.linalg.det(other[:3, :3]) * np.linalg.det(affine[:3, :3]) < 0
    if mirrored or same_space and not off <= 0.1 * min(abs(s) for s in header["pixdim"][1:4]):
        what = " and mirror each other" if mirrored else ""
        return [f"qform and sform disagree by up to {off:.1f} mm{what}; sform used"]
    return []
