"""Files rewritten without what could tell who a patient is; all else in them stays as it is."""

import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet

from medssl.data.traces import (
    DATA_URI,
    NIFTI_TEXT,
    PLAIN,
    PNG_MAGIC,
    PNG_TEXT,
    UNREADABLE,
    nifti_head,
)
from medssl.errors import UserError
from medssl.privacy import is_free_text, scrub


def clean(source: Path, target: Path, words: Iterable[str] = ()) -> None:
    """Write a cleaned copy: text, Parquet, PNG, NIfTI and safetensors; others are copied.

    Raises UserError SCRUB for a file that is not what its name says.
    """
    try:
        _clean(source, target, frozenset(words))
    except UNREADABLE as error:
        cause = f"is not what its name says ({type(error).__name__})"
        raise UserError("SCRUB", source.name, cause, "take it out of the folder") from error


def _clean(source: Path, target: Path, words: frozenset[str]) -> None:
    name, suffix = source.name.lower(), source.suffix.lower()
    if suffix == ".json":
        value = json.loads(source.read_text())
        target.write_text(json.dumps(_mapped(value, lambda text: scrub(text, words)), indent=1))
    elif suffix in PLAIN:
        target.write_text(_visible(source.read_text(encoding="utf-8"), words), encoding="utf-8")
    elif suffix == ".parquet":
        _parquet(source, target, words)
    elif suffix == ".png" and source.read_bytes().startswith(PNG_MAGIC):
        target.write_bytes(_without_text(source.read_bytes()))
    elif name.endswith((".nii", ".nii.gz")):
        _nifti(source, target)
    elif suffix == ".safetensors":
        _safetensors(source, target)
    else:
        shutil.copyfile(source, target)


def _mapped(value, change: Callable[[str], str]):
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        keys = _apart(change(key) for key in value)
        return {k: _mapped(v, change) for k, v in zip(keys, value.values(), strict=True)}
    return [_mapped(inner, change) for inner in value] if isinstance(value, list) else value


def _apart(names: Iterable[str]) -> list[str]:
    """Names numbered where scrubbing made them alike, so that nothing is lost."""
    found: list[str] = []
    for name in names:
        number, own = 1, name
        while own in found:
            number += 1
            own = f"{name} {number}"
        found.append(own)
    return found


def _visible(text: str, words: frozenset[str]) -> str:
    """Text scrubbed line by line, the data of pictures in a page left alone."""
    pieces = re.split(f"({DATA_URI.pattern})", text)
    for i in range(0, len(pieces), 2):
        lines = pieces[i].splitlines(keepends=True)
        pieces[i] = "".join(scrub(line.rstrip("\n"), words) + "\n" * line.endswith("\n")
                            for line in lines)  # fmt: skip
    return "".join(pieces)


def _parquet(source: Path, target: Path, words: frozenset[str]) -> None:
    table = pyarrow.parquet.read_table(source).replace_schema_metadata(None)
    for number, field in enumerate(table.schema):
        if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type):
            values = table.column(number).to_pylist()
            free = field.name.startswith("label_") and is_free_text(values)
            values = [None if free or v is None else scrub(v, words) for v in values]
            table = table.set_column(number, field, pyarrow.array(values, field.type))
    names = _apart(scrub(name, words) for name in table.column_names)
    pyarrow.parquet.write_table(table.rename_columns(names), target)


def _without_text(png: bytes) -> bytes:
    out, at = [PNG_MAGIC], len(PNG_MAGIC)
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] not in PNG_TEXT:
            out.append(png[at:end])
        at = end if png[at + 4 : at + 8] != b"IEND" else len(png)
    return b"".join(out)


def _nifti(source: Path, target: Path) -> None:
    head, size = nifti_head(source)
    clean = bytearray(head)
    for _, start, length in NIFTI_TEXT[size]:
        clean[start : start + length] = bytes(length)
    clean[size:] = bytes(len(clean) - size)  # no extensions; the voxels keep their place
    data = source.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    data = gzip.decompress(data) if packed else data
    data = bytes(clean) + data[len(clean) :]
    target.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def _safetensors(source: Path, target: Path) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        if "__metadata__" not in header:  # a card knows the file by its bytes
            old.seek(0)
            shutil.copyfileobj(old, new)
            return
        header["__metadata__"] = {"format": "pt"}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new)
