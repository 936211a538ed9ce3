"""The words in a file: of tables, pages and cards, and those that headers of pictures hide."""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
from PIL import ExifTags, Image

from medssl.errors import one_line
from medssl.privacy import is_free_text

PLAIN = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".yaml", ".yml", ".html", ".svg", ".log"}
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
DATA_URI = re.compile(r"base64,[A-Za-z0-9+/=]+")
# Text chunks that say which program wrote a picture, and how dense it is printed.
HARMLESS_TEXT = {"Software", "dpi"}
PNG_TEXT = {b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"}
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# (field, first byte, bytes) of free text in the two headers; what lies behind is an extension.
NIFTI_TEXT = {
    348: [("data_type", 4, 10), ("db_name", 14, 18), ("descrip", 148, 80), ("aux_file", 228, 24),
          ("intent_name", 328, 16)],
    540: [("descrip", 240, 80), ("aux_file", 320, 24), ("intent_name", 508, 16)],
}  # fmt: skip
UNREADABLE = (
    ValueError, SyntaxError, EOFError, OverflowError, TypeError, KeyError,
    zlib.error, struct.error, Image.DecompressionBombError,
)  # fmt: skip
HIDDEN, FREE, UNKNOWN = "hidden text", "free text", "not looked into"
ARRAYS = {".b2nd", ".npy"}  # numbers of ours, and nothing else


def traces(path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, text, kind) of every piece of text in a file; `kind` is HIDDEN for what is no
    visible part of it, and should not be there at all, FREE for a column of remarks, else "". A file
    that cannot be read gives one piece of kind "unreadable", one of a format that medssl does not
    share (DICOM, MetaImage, NRRD, any other) and a link one of kind UNKNOWN.
    """
    if not is_known(path):
        yield "link" if path.is_symlink() else "file", "", UNKNOWN
        return
    try:
        yield from _reader(path)(path)
    except (OSError, *UNREADABLE) as error:
        yield "file", one_line(error), "unreadable"


def is_known(path: Path) -> bool:
    """Whether a file is of a format that medssl shares, and no link."""
    return not path.is_symlink() and _reader(path) is not None


def _reader(path: Path):
    name, suffix = path.name.lower(), path.suffix.lower()
    if suffix == ".parquet":
        return _parquet
    if suffix == ".safetensors":
        return _safetensors
    if suffix in PICTURES:
        return _picture
    if suffix in ARRAYS:
        return lambda path: ()
    if name.endswith((".nii", ".nii.gz")):
        return _nifti
    return {".json": _json}.get(suffix, _lines) if suffix in PLAIN else None


def _lines(path: Path):
    text = DATA_URI.sub("base64,", path.read_text(encoding="utf-8", errors="replace"))
    for number, line in enumerate(text.splitlines(), start=1):
        yield f"line {number}", line, ""


def _json(path: Path):
    yield from ((place, text, "") for place, text in _strings(json.loads(path.read_text()), ""))


def _strings(value, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place or "value", value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{place} key", key
            yield from _strings(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{place}[{number}]")


def _parquet(path: Path):
    table = pyarrow.parquet.read_table(path)
    for key, value in (table.schema.metadata or {}).items():
        if key != b"ARROW:schema":
            yield f"metadata {key.decode()}", value.decode("utf-8", "replace"), ""
    for name in table.column_names:
        yield "column name", name, ""
        column = table.column(name)
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            values = column.to_pylist()
            if name.startswith("label_") and is_free_text(values):
                yield f"column {name}", "", FREE
            for row, value in enumerate(values):
                if value:
                    yield f"column {name}, row {row}", value, ""


def _safetensors(path: Path):
    with open(path, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size)) if size <= path.stat().st_size else None
    if not isinstance(header, dict):
        raise ValueError("no safetensors header")
    for key, value in header.pop("__metadata__", {}).items():
        yield f"metadata {key}", value, "" if (key, value) == ("format", "pt") else HIDDEN
    yield from (("name of a tensor", name, "") for name in header)


def _picture(path: Path):
    with Image.open(path) as image:
        if image.format == "PNG":
            image.load()  # text may stand behind the pixels
        for key, value in image.info.items():
            if isinstance(value, (str, bytes)) and key not in HARMLESS_TEXT | {"icc_profile"}:
                yield f"text {key}", _text(value), HIDDEN
        for tag, value in {**image.getexif(), **getattr(image, "tag_v2", {})}.items():
            if isinstance(value, (str, bytes)):
                yield f"tag {ExifTags.TAGS.get(tag, tag)}", _text(value), HIDDEN


def _nifti(path: Path):
    head, size = nifti_head(path)
    for field, start, length in NIFTI_TEXT.get(size, []):
        if text := _text(head[start : start + length]):
            yield field, text, HIDDEN
    if len(head) > size + 4 and any(head[size:]):
        yield "extensions", _text(head[size:]), HIDDEN


def nifti_head(path: Path) -> tuple[bytes, int]:
    """A NIfTI file up to its voxels, unpacked, and the size of its header (348 or 540)."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = zlib.decompress(data, 47)
    order = "<" if struct.unpack("<i", data[:4])[0] in NIFTI_TEXT else ">"
    (size,) = struct.unpack(f"{order}i", data[:4])
    if size not in NIFTI_TEXT:
        raise ValueError("no NIfTI header")
    at, code = (108, "f") if size == 348 else (168, "q")
    (offset,) = struct.unpack_from(f"{order}{code}", data, at)
    return data[: max(int(offset), size)], size


def _text(value: str | bytes) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip("\0 ")
