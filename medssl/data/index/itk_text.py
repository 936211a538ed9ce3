"""The text headers of MetaImage and NRRD: which bytes hold the voxels, and how they are stored.

They are read here and not left to SimpleITK, which would follow a data file's name anywhere on the
disk, replace missing voxel sizes by 1 mm, and pass over a broken checksum.
"""

from pathlib import Path

from medssl.data.index import checks, meta_header, nrrd_header
from medssl.data.index.itk_fields import HEADER_LIMIT, Text
from medssl.data.index.row import join
from medssl.errors import UserError


def read_text(path: Path) -> Text:
    """Parse and check a header, and compare it with the bytes that are there. Raises UserError."""
    with open(path, "rb") as stream:
        head = stream.read(HEADER_LIMIT)
    kind = nrrd_header if head.startswith(b"NRRD") else meta_header
    text = kind.parse(path, head)
    if not text.sizes or min(text.sizes) < 1:
        raise UserError("HEADER", path, f"image sizes are {text.sizes}", "export it again")
    extra = [n for n in text.sizes[3:] if n > 1]
    if len(text.sizes) > 3 or len(text.sizes) < 2:
        cause = f"{len(text.sizes)}D data of shape {join(text.sizes)}, expected 2 or 3 axes"
        raise UserError("SERIES_4D" if extra else "GEOMETRY", path, cause, "split it into volumes")
    if not text.placed:
        raise UserError("GEOMETRY", path, "the voxel size is missing", "export it with voxel sizes")
    found = text.data.stat().st_size - max(text.start, 0)
    # Written as digits, a voxel takes at least one byte.
    expected = text.expected // (text.dtype.itemsize if text.packing == "digits" else 1)
    checks.size(expected, max(found, 0), text.packing == "packed", text.data)
    if text.packing == "raw" and text.start >= 0 and found > expected:
        text.remarks.append(f"{found - expected} bytes after the voxels ignored")
    return text
