"""Writing files so that a reader sees the old one or the new one, never half of it."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from medssl.errors import UserError, one_line
from medssl.progress import amount

LEFTOVER = re.compile(r"\.\d+\.")
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # some network file systems know none
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
# Also with blanks before it, and as East Asian spreadsheets take it; a plain number is none.
FORMULA = re.compile(rf"^(?!{NUMBER}$)([\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets a leading quote; numbers stay numbers."""
    table = table.copy()
    for column in table.select_dtypes(["str", "object"]):
        text = table[column].map(lambda value: isinstance(value, str))
        table.loc[text, column] = table.loc[text, column].map(_harmless)
    return table.rename(columns=lambda name: _harmless(str(name)))


def _harmless(text: str) -> str:
    # A carriage return is not quoted in CSV, and would begin a new line there.
    return FORMULA.sub(r"'\1", text).replace("\r", " ")


def write_csv(path: Path, table: pd.DataFrame, private: bool = False) -> None:
    """A table as CSV, without formulas."""
    safe = without_formulas(table)
    write_atomically(path, lambda p: safe.to_csv(p, index=False), private)


def write_json(path: Path, values: dict, private: bool = False) -> None:
    text = json.dumps(values, indent=1)
    write_atomically(path, lambda p: p.write_text(text), private)


def write_atomically(path: Path, write: Callable[[Path], object], private: bool = False) -> None:
    """Call `write(temporary path)`, flush it to disk, then give it its name.

    A `private` file is readable by its owner only, from its first byte on.
    Raises UserError DISK when there is no room; the old file, if any, is then untouched.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        temporary.unlink(missing_ok=True)  # now, so that its room counts as free
        raise no_room(path.parent, f"{path.name} cannot be written ({one_line(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def no_room(folder: Path, cause: str) -> UserError:
    """The error of a full disk, with the room that is left in `folder`."""
    free = amount(shutil.disk_usage(folder).free)
    return UserError(
        "DISK", folder, f"{cause}; {free} are free there",
        "free room or lift the quota or file size limit, or choose another folder; then run the "
        "same command again",
    )  # fmt: skip


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and delete what `write_atomically` left in it when killed.

    Raises UserError BUSY if another process holds it. A killed process holds nothing.
    """
    import fcntl

    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(
                    "BUSY", folder, "another process is writing there",
                    "wait until it has ended, or choose another folder",
                ) from error  # fmt: skip
            if error.errno not in NO_LOCKS:
                raise
        for path in folder.rglob(".*.*"):
            if LEFTOVER.match(path.name):
                path.unlink(missing_ok=True)
        yield
