"""Compressed DICOM streams: one a frame, and the image size that each declares itself.

What a stream declares is known before any codec allocates it.
"""

import io
from itertools import accumulate
from pathlib import Path

from pydicom.encaps import generate_fragments, parse_basic_offsets

from medssl.data.index.stored import packbits_size

LOOK = 1 << 16
ITEM = b"\xfe\xff\x00\xe0"
SOC_SIZ = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"
SOI = b"\xff\xd8"
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def declared_size(path: Path, at: int) -> tuple[int, int] | None:
    """(rows, columns) of the first JPEG, JPEG-LS or JPEG 2000 stream; None if it names none.

    `at` is where the value of the encapsulated PixelData begins in the file.
    """
    with open(path, "rb") as stream:
        stream.seek(at)
        table = stream.read(8)
        if table[:4] != ITEM:
            return None
        stream.seek(int.from_bytes(table[4:], "little"), 1)
        return size_of(stream.read(8 + LOOK)[8:])


def size_of(head: bytes) -> tuple[int, int] | None:
    """(rows, columns) that the beginning of a stream declares; None if it names none."""
    if head.startswith(SOI):
        return _jpeg(head)
    siz = head.find(SOC_SIZ, 0, 1024)  # a JP2 file has boxes before it
    if siz < 0 or len(head) < siz + 24:
        return None
    right, bottom, left, top = (
        int.from_bytes(head[siz + i : siz + i + 4], "big") for i in (8, 12, 16, 20)
    )
    return bottom - top, right - left


def frame_streams(pixels: bytes, frames: int) -> list[bytes] | None:
    """The stream of each frame of an encapsulated PixelData (PS3.5 A.4); None if it cannot be told.

    A frame may be in several fragments. The offset table counts only where it leads to fragments:
    else a frame ends where a fragment holds its end marker.
    """
    stream = io.BytesIO(pixels)
    table = parse_basic_offsets(stream)
    fragments = list(generate_fragments(stream))
    if not fragments:
        return None
    if frames <= 1:
        return [b"".join(fragments)]
    if len(fragments) == frames:
        return fragments
    starts = list(accumulate((8 + len(f) for f in fragments), initial=0))
    if len(table) == frames and table[0] == 0 and set(table) <= set(starts[:-1]):
        begins = [starts.index(offset) for offset in table]
    else:
        ends = [k for k, fragment in enumerate(fragments) if END in fragment[-16:]]
        begins = [0, *(k + 1 for k in ends[:-1])]
    if len(begins) != frames or begins != sorted(set(begins)):
        return None
    return [b"".join(fragments[a:b]) for a, b in zip(begins, [*begins[1:], None], strict=True)]


def is_cut(stream: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 stream lacks the marker that ends it.

    Decoders pass over that, and JPEG-LS fills the rest with noise. A few bytes of padding may follow.
    """
    return stream.startswith((SOI, SOC_SIZ)) and END not in stream[-16:]


def rle_pixels(stream: bytes) -> int:
    """How many pixels the first segment of an RLE frame (PS3.5 annex G) unpacks to."""
    begin, end = (int.from_bytes(stream[i : i + 4], "little") for i in (4, 8))
    return packbits_size(stream[begin : end or len(stream)])


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker in FRAME_HEADERS:
            return tuple(int.from_bytes(head[at + i : at + i + 2], "big") for i in (5, 7))
        at += 1 if marker == 0xFF else 2 + length
    return None
