"""What PNG and JPEG files must hold, and Pillow does not insist on.

Pillow leaves the checksums of PNG pixels out and takes markers in the middle of JPEG data: each would
be another picture without a word.
"""

import zlib
from pathlib import Path
from typing import BinaryIO

from medssl.errors import UserError

PNG_SIGNATURE, BLOCK = 8, 1 << 16
JPEG_START = b"\xff\xd8"
JPEG_END, JPEG_SCAN, JPEG_END_MARKER = 0xD9, 0xDA, b"\xff\xd9"
# Between scans: tables, restarts, comments, application data, another scan.
JPEG_BETWEEN = frozenset({0xC4, 0xCC, JPEG_SCAN, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
JPEG_INSIDE = frozenset({0x00, *range(0xD0, 0xD8)})


def check_end(path: Path, format: str | None) -> None:
    """Raises UserError CUT if the end marker of a JPEG is missing; of a PNG see `check_chunks`."""
    if format == "JPEG":
        with open(path, "rb") as stream:
            stream.seek(-min(path.stat().st_size, BLOCK), 2)
            near_the_end = JPEG_END_MARKER in stream.read()
        if not near_the_end:
            _check_jpeg(path)


def check_chunks(path: Path) -> None:
    """Raises UserError for a PNG or JPEG that would keep Pillow busy or flood the memory.

    That is CUT for a PNG without its last chunk, or with one longer than the file, which Pillow would
    allocate, and HEADER where no chunk or JPEG segment begins: Pillow looks for the next for ever.
    """
    with open(path, "rb") as stream:
        if stream.read(2) == JPEG_START:
            return _check_segments(stream, path)
    size, at = path.stat().st_size, PNG_SIGNATURE
    with open(path, "rb") as stream:
        if stream.read(PNG_SIGNATURE) != b"\x89PNG\r\n\x1a\n":
            return
        while len(start := stream.read(8)) == 8 and start[4:] != b"IEND":
            if not start[4:].isalpha():
                cause = (
                    f"byte {at + 4} holds {start[4:].hex()}, where the name of a PNG chunk must be"
                )
                raise UserError("HEADER", path, cause, "fetch the file again")
            at += 12 + int.from_bytes(start[:4], "big")
            if at > size:
                cause = f"a PNG chunk reaches to byte {at}, the file has {size}"
                raise UserError("CUT", path, cause, "fetch the file again")
            stream.seek(at)
        if start[4:] != b"IEND":
            raise _without_end(path)


def _check_segments(stream: BinaryIO, path: Path) -> None:
    """The segments in front of the pixels of a JPEG, of which only the heads are read."""
    at = len(JPEG_START)
    while True:
        stream.seek(at)
        head = stream.read(4)
        fill = len(head) - len(head.lstrip(b"\xff")) - 1
        if len(head) == 4 and fill > 0:
            at += fill
            continue
        length = int.from_bytes(head[2:], "big")
        if len(head) < 4 or head[:1] != b"\xff" or length < 2:
            raise _no_segment(path, at, head)
        if head[1] == JPEG_SCAN:
            return
        at += 2 + length


def check_whole(path: Path, format: str | None) -> None:
    """Read a file to its end. Raises UserError CRC or HEADER for what a good writer never leaves."""
    check = {"PNG": _check_png, "JPEG": _check_jpeg}.get(format or "")
    if check:
        check(path)


def png_depth(path: Path) -> int:
    """Bits of a sample."""
    with open(path, "rb") as stream:
        return stream.read(25)[24]


def _check_png(path: Path) -> None:
    with open(path, "rb") as stream:
        stream.seek(PNG_SIGNATURE)
        while len(start := stream.read(8)) == 8:
            found = zlib.crc32(start[4:])
            left = int.from_bytes(start[:4], "big")
            while left and (block := stream.read(min(left, BLOCK))):
                found, left = zlib.crc32(block, found), left - len(block)
            if left or found != int.from_bytes(stream.read(4), "big"):
                cause = f"the checksum of PNG chunk {start[4:]!r} is wrong"
                raise UserError("CRC", path, cause, "fetch the file again")
            if start[4:] == b"IEND":
                return


def _check_jpeg(path: Path) -> None:
    """Markers where the standard (ITU-T T.81, B.1) has them; a JPEG holds no checksum."""
    raw, at, scanned = path.read_bytes(), 2, False
    while at + 4 <= len(raw):
        marker = raw[at + 1]
        if marker == JPEG_END:
            return
        length = int.from_bytes(raw[at + 2 : at + 4], "big")
        if raw[at] != 0xFF or length < 2 or (scanned and marker not in JPEG_BETWEEN):
            raise _no_segment(path, at, raw[at : at + 2])
        at += 2 + length
        if marker == JPEG_SCAN:
            at, scanned = _scan_end(raw, at), True
        while raw[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
    if raw[at : at + 2] != JPEG_END_MARKER:
        raise _without_end(path)


def _no_segment(path: Path, at: int, found: bytes) -> UserError:
    if not found:
        return _without_end(path)
    cause = f"byte {at} holds {found[:2].hex()}, where a JPEG segment must begin"
    return UserError("HEADER", path, cause, "fetch the file again")


def _without_end(path: Path) -> UserError:
    cause = f"the end marker is missing after {path.stat().st_size} bytes"
    return UserError("CUT", path, cause, "fetch the file again")


def _scan_end(raw: bytes, at: int) -> int:
    """Where the first marker after entropy-coded data begins."""
    while (at := raw.find(b"\xff", at)) >= 0 and at + 1 < len(raw):
        if raw[at + 1] not in JPEG_INSIDE:
            return at
        at += 2
    return len(raw)
