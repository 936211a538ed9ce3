"""Paths that a file from elsewhere names: inside its own folder, or refused."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from medssl.data.delimited import text_of
from medssl.errors import UserError

SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")
DRIVE = re.compile(r"^[A-Za-z]:")
DECODINGS = 3  # a hostile spelling may be encoded twice
LONGEST = 4096
SHOWN = 100


def located(names: Iterable[str], base: Path, source: Path, outside: bool = False) -> dict:
    """Every name as a path below `base` or None where nothing lies.

    Backslashes part folders where no file is called so. Raises UserError PATH naming every path
    that leads out of `base` by its spelling or by a link, unless `outside` allows it; never allowed
    are control characters.
    """
    found, bad = {}, []
    for name in names:
        fault = unsafe(name, outside)
        path = None if fault else _existing(name, base)
        if path and not outside and not inside(path, base):
            fault = "a link that leads out of the folder"
        if fault:
            bad.append(f"{name[:200]!r} ({fault})")
        found[name] = path
    if bad:
        cause = f"{len(bad)} paths lead out of {base.name or base}: {listed(bad)}"
        fix = "give paths below the folder; if you trust the file, allow them by outside=true"
        raise UserError("PATH", source, cause, fix)
    return found


def scan_list(path: Path) -> list[Path]:
    """The paths that a .txt names, one a line, as seen from its own folder; any other path itself."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return [path]
    lines = [line.strip() for line in text_of(path).splitlines()]
    return [path.parent / line for line in lines if line]


def unsafe(name: str, outside: bool = False) -> str:
    """Why a path may not be followed, or ""."""
    if not name.strip():
        return "empty"
    if len(name) > LONGEST:
        return f"{len(name)} characters"
    spellings = {name}
    for _ in range(DECODINGS):
        spellings |= {unquote(s) for s in spellings}
        spellings |= {unicodedata.normalize("NFKC", s) for s in spellings}
    if any(ord(c) < 32 or ord(c) == 127 for s in spellings for c in s):
        return "a control character"
    if outside:
        return ""
    for spelling in spellings:
        plain = spelling.replace("\\", "/")
        parts = [part.strip() for part in plain.split("/")]
        if plain.startswith(("/", "~")) or DRIVE.match(plain) or SCHEME.match(plain):
            return "absolute"
        if ".." in parts and _depth(parts) < 0:
            return "leads upwards"
    return ""


def _depth(parts: list[str]) -> int:
    """The lowest level that a path passes through, seen from its folder."""
    level = lowest = 0
    for part in parts:
        level += (part not in ("", ".", "..")) - (part == "..")
        lowest = min(lowest, level)
    return lowest


def _existing(name: str, base: Path) -> Path | None:
    for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
        path = Path(os.path.normpath(base / spelling))
        try:
            if os.path.lexists(path):
                return path
        except (OSError, ValueError):
            return None
    return None


def all_there(found: dict[str, Path | None], what: str, source: Path) -> None:
    """Raise UserError MISSING that names every path where nothing lies."""
    missing = [name for name, path in found.items() if path is None]
    if missing:
        cause = f"{len(missing)} of {len(found)} {what} are missing: {listed(missing)}"
        fix = "put the files there or take them out of the list"
        raise UserError("MISSING", source, cause, fix)


def inside(path: str, *folders: str) -> bool:
    """Whether a path, links followed, lies below one of the folders."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def listed(names: list[str], shown: int = SHOWN) -> str:
    """Names in one line, all up to a hundred."""
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
