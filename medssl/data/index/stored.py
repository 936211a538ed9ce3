"""Stored bytes, unpacked to the end of their checksum and never far beyond what a header promises."""

import zlib
from pathlib import Path

from medssl.data.index import checks
from medssl.data.index.row import unreadable
from medssl.errors import UserError

# Unused input is copied at the end of each gzip member: larger blocks make many members slow.
BLOCK = 1 << 16
GZIP = b"\x1f\x8b"
ZLIB_OR_GZIP = 47


def is_gzip(path: Path) -> bool:
    """Whether a file starts like a gzip stream."""
    with open(path, "rb") as stream:
        return stream.read(2) == GZIP


def voxels(path: Path, start: int, expected: int, packed: bool) -> tuple[bytearray, list[str]]:
    """`expected` bytes from `start` of a file on, and remarks; a zlib or gzip stream is unpacked.

    A packed stream is read to its end, so that its checksums count. Raises UserError: CUT if there
    are fewer bytes, TOO_LARGE if many more come out, UNREADABLE for a broken stream.
    """
    with open(path, "rb") as stream:
        stream.seek(start)
        if packed:
            return _unpacked(stream, path, expected)
        raw = bytearray(stream.read(expected))
    if len(raw) < expected:
        checks.size(expected, len(raw), False, path)
    return raw, []


def _unpacked(stream, path: Path, expected: int) -> tuple[bytearray, list[str]]:
    out, surplus, members, inflate = bytearray(), 0, 1, zlib.decompressobj(ZLIB_OR_GZIP)
    pending = stream.read(BLOCK)
    try:
        while True:
            part = inflate.decompress(pending, BLOCK * 16)
            kept = min(len(part), expected - len(out))
            out += part[:kept]
            surplus += len(part) - kept
            if surplus > checks.BOMB_BYTES:
                cause = f"unpacks to more than {len(out) + surplus} bytes, expected {expected}"
                raise UserError("TOO_LARGE", path, cause, "export it again")
            pending = inflate.unconsumed_tail or inflate.unused_data or stream.read(BLOCK)
            if inflate.eof:
                if len(pending) < len(GZIP):  # the next member may begin at the block's last byte
                    pending += stream.read(BLOCK)
                if pending[:2] != GZIP:
                    break
                inflate, members = zlib.decompressobj(ZLIB_OR_GZIP), members + 1
            elif not pending and not part:
                cause = f"the packed stream ends early, after {len(out)} of {expected} bytes"
                raise UserError("CUT", path, cause, "fetch the file again")
    except zlib.error as error:
        raise unreadable(path, error) from error
    if len(out) < expected:
        cause = f"found {len(out)} bytes after unpacking, expected {expected}"
        raise UserError("CUT", path, cause, "fetch the file again")
    found = {
        f"{members} gzip members read as one": members > 1,
        f"{surplus} bytes after the voxels ignored": surplus,
        "bytes after the packed stream ignored": pending,
    }
    return out, [remark for remark, holds in found.items() if holds]


def packbits_size(runs: bytes) -> int:
    """How many bytes runs unpack to, as Apple's PackBits (TIFF) and DICOM's RLE (PS3.5 G) have them."""
    at = count = 0
    while at + 1 < len(runs):
        run = runs[at]
        if run < 128:
            at, count = at + run + 2, count + run + 1
        else:
            at, count = at + (2 if run > 128 else 1), count + (257 - run if run > 128 else 0)
    return count
