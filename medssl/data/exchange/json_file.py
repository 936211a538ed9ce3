"""JSON from elsewhere: strict about what the standard reader lets through."""

import json
from collections import Counter
from pathlib import Path

from medssl.data.files import write_atomically
from medssl.errors import UserError, one_line


def read_json(path: Path, kind: type = dict):
    """An object or list (`kind`). Raises UserError JSON for other content, double keys and NaN.

    A byte order mark is skipped; UTF-16 with its mark is read too.
    """
    try:
        raw = Path(path).read_bytes()
        encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        content = json.loads(
            raw.decode(encoding), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except OSError as error:
        cause = f"cannot be read ({one_line(error)})"
        raise UserError("JSON", path, cause, "check the path") from error
    except UnicodeDecodeError as error:
        cause = f"is not UTF-8 (byte {error.start}; Latin-1?)"
        raise UserError("JSON", path, cause, "save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        cause = f"is no JSON that can be used ({one_line(error)})"
        raise UserError("JSON", path, cause, "correct the file") from error
    if not isinstance(content, kind):
        cause = f"holds a {type(content).__name__}, expected a {kind.__name__}"
        raise UserError("JSON", path, cause, "give the format's own file")
    return content


def part(content: dict, key: str, kind: type, source: Path, where: str = ""):
    """A value of the right type, or an empty one if there is none. Raises UserError JSON."""
    value = content.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        cause = f"{where}{key} is a {type(value).__name__}, expected a {kind.__name__}"
        raise UserError("JSON", source, cause, "correct the file")
    return value


def write_json(path: Path, content: dict | list) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def _unique(pairs: list[tuple]) -> dict:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"key {twice[0]!r} is given twice in one object")
    return dict(pairs)


def _no_constant(name: str):
    raise ValueError(f"it holds {name}, which is no value")
