"""A plain table, one line a scan, files where they lie."""

import json
import os
from pathlib import Path

import pandas as pd

from medssl.data.exchange.scans import TEXTS, Options, Scan, plain_stem
from medssl.data.files import with_formulas, write_csv
from medssl.data.tables import MASKS, identifying_columns, plain_name, read_table, refuse_mangled
from medssl.data.tables import patient_columns as patients
from medssl.errors import UserError
from medssl.progress import say

PATHS = ("path", "image", "file", "filename", "image_path", "image_file")


def recognise(source: Path) -> bool:
    return source.is_file() and source.suffix.lower() in (".csv", ".tsv")


def write(scans: list[Scan], out: Path, options: Options) -> Path:
    """`out` is the CSV; paths are relative to its folder, those of a series a list in `files`."""
    top = os.path.realpath(out.parent)
    records = []
    for scan in scans:
        files = [os.path.relpath(file, top).replace(os.sep, "/") for file in scan.files]
        mask = os.path.relpath(scan.mask, top).replace(os.sep, "/") if scan.mask else ""
        listed = json.dumps(files) if len(files) > 1 else ""
        record = {"id": scan.id, "path": files[0], "files": listed, "mask": mask}
        records.append({**record, **dict.fromkeys(TEXTS[1:], ""), **scan.about})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, pd.DataFrame(records).fillna(""), private=True)
    return out


def read(source: Path) -> tuple[list[Scan], Path]:
    """Scans of a table with a column of paths; other columns are labels, identifying ones left out.

    Raises UserError TABLE or EXCHANGE.
    """
    table = with_formulas(read_table(source))
    path = next((c for name in PATHS for c in table if c.lower() == name), None)
    if path is None:
        cause = f"has no column of paths (found {', '.join(table.columns)})"
        raise UserError("EXCHANGE", source, cause, f"name it {' or '.join(PATHS[:3])}")
    mask = next((c for name in MASKS for c in table if c.lower() == name), "")
    owner = next(iter(patients(table)), "")
    known = {path, mask, owner, *TEXTS, "files"}
    dropped = set(identifying_columns(table)) - known
    names = {c: c if c.startswith("label_") else f"label_{plain_name(c)}" for c in table
             if c not in known | dropped}  # fmt: skip
    if dropped:
        say(f"left out, since they could tell who a patient is: {', '.join(sorted(dropped))}")
    refuse_mangled(table.get("id", pd.Series(dtype=str)).tolist(), source)
    scans = []
    for line, row in enumerate(table.to_dict("records"), start=2):
        files = _files(row, path, source, line)
        scan = Scan(row.get("id") or plain_stem(files[0]), files, mask=_path(row.get(mask)))
        scan.tell({**row, **{new: row[old] for old, new in names.items()}})
        scan.patient = row.get(owner, "")
        scans.append(scan)
    return scans, Path(source).parent


def _files(row: dict[str, str], path: str, source: Path, line: int) -> list[Path]:
    try:
        names = json.loads(row["files"]) if row.get("files") else [row[path]]
        if names and all(isinstance(name, str) and name for name in names):
            return [Path(name) for name in names]
    except json.JSONDecodeError:
        pass
    cause = f"line {line} names no file"
    raise UserError("EXCHANGE", source, cause, "give path, or files as a JSON list of paths")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
