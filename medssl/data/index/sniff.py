"""Which reader a file needs, told by its first bytes; the suffix only explains a refusal."""

import re
import zlib
from pathlib import Path

from medssl.data.index.ids import IMAGE_SUFFIXES
from medssl.data.index.row import unreadable
from medssl.errors import UserError
from medssl.privacy import is_neutral

HEAD = 1024
LONGEST_SUFFIX = 5
NIFTI_MAGIC = {b"n+1\0": 344, b"ni1\0": 344, b"n+2\0": 4, b"ni2\0": 4}
META_KEY = re.compile(rb"^\s*(ObjectType|NDims)\s*=", re.MULTILINE)
VR = re.compile(rb"[A-Z]{2}")
OTHERS = {
    b"\x89HDF\r\n": "HDF5 (or MINC 2)", b"CDF": "NetCDF (or MINC 1)", b"GIF8": "a GIF picture",
    b"RIFF": "a RIFF file (WebP, AVI)", b"PK\x03\x04": "a zip archive", b"%PDF": "a PDF",
    b"BM": "a BMP picture", b"7z\xbc\xaf": "a 7z archive", b"BZh": "a bzip2 archive",
}  # fmt: skip


def identify(path: Path) -> str:
    """The name of the reader: dicom, nifti, itk or image2d.

    Raises UserError saying what the file is instead: EMPTY, UNREADABLE (a scan's suffix with other
    content), UNSUPPORTED (an image format that is not read) or NOT_IMAGE.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise unreadable(path, error) from error
    if not head:
        raise UserError("EMPTY", path, "the file has 0 bytes", "fetch it again")
    if head[:2] == b"\x1f\x8b":
        return _inside_gzip(path, head)
    format = _by_magic(head)
    if format:
        return format
    raise _refusal(path, head)


def _by_magic(head: bytes) -> str:
    if head[128:132] == b"DICM":
        return "dicom"
    if any(head[at : at + 4] == magic for magic, at in NIFTI_MAGIC.items()):
        return "nifti"
    if head[:4] == b"NRRD" or (META_KEY.search(head[:512]) and head[:1].isalpha()):
        return "itk"
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff":
        return "image2d"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "image2d"
    return "dicom" if _starts_a_dataset(head) else ""


def _starts_a_dataset(head: bytes) -> bool:
    """Whether the bytes look like a DICOM dataset without preamble: group 2 or 8 comes first."""
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))
        if group in (2, 8) and element <= 0x0070 and len(head) >= 12:
            length = int.from_bytes(head[4:8], order)
            return bool(VR.fullmatch(head[4:6])) or 0 < length <= 64
    return False


def _inside_gzip(path: Path, head: bytes) -> str:
    try:
        inner = zlib.decompressobj(31).decompress(head, HEAD)
    except zlib.error as error:
        raise unreadable(path, error) from error
    if any(inner[at : at + 4] == magic for magic, at in NIFTI_MAGIC.items()):
        return "nifti"
    if path.name.lower().endswith(".nii.gz"):
        cause = f"holds no NIfTI header ({len(inner)} bytes could be unpacked)"
        raise UserError("UNREADABLE", path, cause, "fetch the file again")
    what = "a gzip archive"
    if _by_magic(inner) == "dicom":
        what = "a gzipped DICOM file"
    elif path.name.lower().endswith((".mgz", ".mgh.gz")):
        what = "a FreeSurfer MGH volume"
    cause = f"{what}, which is not read"
    raise UserError("UNSUPPORTED", path, cause, "unpack it, or convert it to NIfTI")


def _refusal(path: Path, head: bytes) -> UserError:
    name = path.name.lower()
    if 348 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
        if name.endswith((".hdr", ".img")):
            cause = "an Analyze 7.5 header, which holds no orientation"
            return UserError("UNSUPPORTED", path, cause, "convert it to NIfTI")
        return UserError("UNREADABLE", path, "the NIfTI magic word is broken", "fetch it again")
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            fix = "convert scans to NIfTI, or films to PNG"
            return UserError("UNSUPPORTED", path, f"{what}, which is not read", fix)
    suffix = next((s for s in IMAGE_SUFFIXES if name.endswith(s)), "")
    if suffix:
        cause = f"the suffix says {suffix[1:]}, the content is {_content(head)}"
        return UserError("UNREADABLE", path, cause, "fetch the file again")
    # A dot may also stand before a name.
    said = path.suffix if is_neutral(path.suffix) or len(path.suffix) <= LONGEST_SUFFIX else ""
    kind = f"a {said[1:].lower()} file" if said else f"{_content(head)}"
    return UserError("NOT_IMAGE", path, f"{kind}, no image", "")


def _content(head: bytes) -> str:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page (a broken download?)"
    if text.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer (run `git lfs pull`)"
    if all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head[:256]):
        return "plain text"
    return "of no known format"
