"""Folders that are on disk whole or not at all, and tensors in their files."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save as as_safetensors
from torch import Tensor

from medssl.data.files import NO_ROOM, no_room
from medssl.errors import UserError, one_line
from medssl.progress import amount

HELD = 1 << 20  # bytes that are collected before they are written
SLACK = 1 << 20  # bytes that cards, headers and folders take beside the tensors


@contextmanager
def replacing(final: Path, needed: int = 0, private: bool = False) -> Iterator[Path]:
    """A temporary folder that is flushed to disk and takes the final name when the block ends well.

    Raises UserError DISK when fewer than `needed` bytes are free, or the folder cannot be written.
    """
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(final.parent).free < needed + SLACK:
            raise no_room(final.parent, f"{final.name} needs {amount(needed + SLACK)}")
        temporary.mkdir(mode=0o700 if private else 0o777)
        yield temporary
        for path in [*temporary.iterdir(), temporary]:
            _fsync(path)
        old = final.with_name(f".{final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            os.rename(final, old)
        os.rename(temporary, final)
        _fsync(final.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)  # now, so that its room counts as free
        cause = f"{final.name} of {amount(needed)} cannot be written ({one_line(error)})"
        if error.errno in NO_ROOM:
            raise no_room(final.parent, cause) from error
        raise UserError(
            "DISK", final.parent, cause,
            "check the permissions there and the disk; what was saved before is good",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """A safetensors file of what `plain` gives; returns the SHA-256 of its bytes."""
    with Hashed(path) as file:
        file.write(as_safetensors(tensors))
    return file.sha256


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Own, contiguous copies on the CPU: safetensors takes no shared or strided memory."""
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def size_of(state: object) -> int:
    """Bytes of the tensors in nested dicts and lists."""
    if isinstance(state, Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, dict) else state
    return sum(map(size_of, parts)) if isinstance(state, dict | list | tuple) else 0


class Hashed:
    """A file to write to, whose SHA-256 is that of what it was given, not of what came back from disk.

    The first OSError is raised in the end: those who write from C++ would turn it into one that does
    not say that the disk is full.
    """

    def __init__(self, path: Path):
        self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self.hash, self.held, self.error = hashlib.sha256(), bytearray(), None

    def write(self, data) -> int:
        data = memoryview(data).cast("B")
        if len(data) < HELD:  # torch writes a great many small pieces
            self.held += data
        if len(data) >= HELD or len(self.held) >= HELD:
            self.flush()
        if len(data) >= HELD:
            self._out(data)
        return len(data)

    def flush(self) -> None:
        self._out(memoryview(self.held))
        self.held = bytearray()

    def _out(self, left: memoryview) -> None:
        self.hash.update(left)
        try:
            while left and not self.error:
                left = left[os.write(self.handle, left) :]
        except OSError as error:
            self.error = error

    @property
    def sha256(self) -> str:
        return self.hash.hexdigest()

    def __enter__(self) -> "Hashed":
        return self

    def __exit__(self, *_) -> None:
        self.flush()
        os.close(self.handle)
        if self.error:
            raise self.error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
