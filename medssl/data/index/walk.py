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

    Links are followed when all else is listed, unless they lead to a file or folder that is listed
    already, or upwards; pipes, sockets, devices and broken links are refused without being opened.
    Raises UserError if `root` does not exist.
    """
    if not os.path.lexists(root):
        raise UserError("SCANS", root, "there is no such file or folder", "give an existing path")
    found = _Walk()
    found.visit(Path(root), Path(os.path.realpath(root)))
    while found.links:
        links, found.links = sorted(found.links), []
        for link in links:
            found.follow(link)
    return sorted(found.files, key=lambda p: p.parts), sorted(
        found.refused, key=lambda r: r[0].parts
    )


class _Walk:
    """`known` holds the real paths of folders entered and of files listed."""

    def __init__(self):
        self.files: list[Path] = []
        self.refused: list[tuple[Path, UserError]] = []
        self.links: list[Path] = []
        self.known: set[str] = set()

    def visit(self, path: Path, real: Path) -> None:
        """List what is no link at `path` and below it, at any depth."""
        waiting = [(path, real)]
        while waiting:
            path, real = waiting.pop()
            fault = _fault(path)
            if fault or not path.is_dir():
                self._list(path, str(real), fault)
            elif self._is_new(path, str(real)):
                waiting += self._inside(path, real)

    def _inside(self, path: Path, real: Path) -> list[tuple[Path, Path]]:
        """What is left to visit of a folder whose files are listed; its links are kept for later."""
        left = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    inner = path / entry.name
                    if entry.is_symlink():
                        self.links.append(inner)
                    elif entry.is_file(follow_symlinks=False):
                        self._list(inner, os.path.join(real, entry.name), _name_fault(inner))
                    else:
                        left.append((inner, real / entry.name))
        except OSError as error:
            cause = f"the folder cannot be listed ({error.strerror})"
            fault = UserError("PERMISSION", path, cause, "mend its permissions")
            self.refused.append((path, fault))
        return left

    def _list(self, path: Path, real: str, fault: UserError | None) -> None:
        if fault:
            self.refused.append((path, fault))
        elif self._is_new(path, real):
            self.files.append(path)

    def _is_new(self, path: Path, real: str) -> bool:
        if real in self.known:
            cause = "is listed under another path already, which a link leads to"
            self.refused.append((path, UserError("LINK", path, cause, "nothing to do")))
            return False
        self.known.add(real)
        return True

    def follow(self, link: Path) -> None:
        """List what a link leads to."""
        target = Path(os.path.realpath(link))
        above = Path(os.path.realpath(link.parent)).is_relative_to(target)
        if not _fault(link) and (str(target) in self.known or above):
            cause = "is a link to a file or folder that is listed anyway"
            self.refused.append((link, UserError("LINK", link, cause, "nothing to do")))
        else:
            self.visit(link, target)


def _name_fault(path: Path) -> UserError | None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return UserError("NAME", path, "the name is not valid UTF-8", "rename it")
    return None


def _fault(path: Path) -> UserError | None:
    if fault := _name_fault(path):
        return fault
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = f"is a broken link ({error.strerror})" if path.is_symlink() else error.strerror
        return UserError("LINK" if path.is_symlink() else "UNREADABLE", path, what, "mend it")
    for is_kind, what in SPECIAL.items():
        if is_kind(mode):
            return UserError("SPECIAL", path, f"is {what}, no regular file", "move it elsewhere")
    return None
