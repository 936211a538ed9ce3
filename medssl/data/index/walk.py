"""Every entry of a folder, once: regular files to look into, and what must not be opened."""

import os
import stat
from pathlib import Path

from medssl.errors import UserError

SPECIAL = {
    stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a character device", stat.S_ISBLK: "a block device",
}  # fmt: skip


def walk(root: Path) -> tuple[list[Path], list[tuple[Path, UserError]]]:
    """Regular files below `root` (or `root` itself) in name order, and refused entries.

    Links to folders are followed unless they lead back into `root` or to a folder already seen;
    pipes, sockets, devices and broken links are refused without being opened.
    Raises UserError if `root` does not exist.
    """
    if not os.path.lexists(root):
        raise UserError("SCANS", root, "there is no such file or folder", "give an existing path")
    files, refused = [], []
    _visit(root, Path(os.path.realpath(root)), set(), files, refused)
    return files, refused


def _visit(path: Path, top: Path, seen: set[Path], files: list, refused: list) -> None:
    fault = _fault(path, top, seen)
    if fault:
        refused.append((path, fault))
    elif not path.is_dir():
        files.append(path)
    else:
        seen.add(Path(os.path.realpath(path)))
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            cause = f"the folder cannot be listed ({error.strerror})"
            refused.append((path, UserError("PERMISSION", path, cause, "mend its permissions")))
            return
        for name in names:
            _visit(path / name, top, seen, files, refused)


def _fault(path: Path, top: Path, seen: set[Path]) -> UserError | None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return UserError("NAME", path, "the name is not valid UTF-8", "rename it")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = f"is a broken link ({error.strerror})" if path.is_symlink() else error.strerror
        return UserError("LINK" if path.is_symlink() else "UNREADABLE", path, what, "mend it")
    for is_kind, what in SPECIAL.items():
        if is_kind(mode):
            return UserError("SPECIAL", path, f"is {what}, no regular file", "move it elsewhere")
    if seen and path.is_symlink() and stat.S_ISDIR(mode):
        target = Path(os.path.realpath(path))
        known = target.is_relative_to(top) or target in seen
        if known or Path(os.path.realpath(path.parent)).is_relative_to(target):
            cause = "is a link to a folder that is listed anyway"
            return UserError("LINK", path, cause, "nothing to do")
    return None
