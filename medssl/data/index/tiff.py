"""What a TIFF file says twice: its strips against its size, its rows, and a packed strip's checksum.

libtiff reads whatever bytes an offset leads to, and stops in a deflated strip before its checksum.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medssl.data.index.stored import packbits_size
from medssl.errors import UserError

WIDTH, HEIGHT, BITS, COMPRESSION, OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS, PLANAR = (
    256, 257, 258, 259, 273, 277, 278, 279, 284,
)  # fmt: skip
TILE_OFFSETS, TILE_COUNTS, PHOTOMETRIC = 324, 325, 262
SAMPLE_FORMAT, TILE_WIDTH, TILE_HEIGHT, WHITE_IS_ZERO, WHITE_16 = 339, 322, 323, 0, 65535
MOST_TAGS = 1000
POINTERS = {330, 34665, 34853, 40965}  # to more directories, which are not walked here
RAW = 1
BYTES_OF = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
            16: 8, 17: 8, 18: 8}  # fmt: skip
ALIGNED = 8


@dataclass
class _Strip:
    start: int
    size: int
    unpacked: int


def check(image: Image.Image, path: Path) -> list[str]:
    """Remarks on bytes that no part of the file refers to. Raises UserError CUT or HEADER."""
    tags, size = image.tag_v2, path.stat().st_size
    used, complete = _directory(path)
    strips = _strips(image, path)
    for strip in strips:
        if strip.start + strip.size > size:
            cause = f"found {size} bytes, the pixels end at byte {strip.start + strip.size}"
            raise UserError("CUT", path, cause, "fetch the file again")
    if tags.get(COMPRESSION, RAW) == RAW:
        found, expected = (
            sum(s) for s in zip(*((s.size, s.unpacked) for s in strips), strict=True)
        )
        if found != expected:
            cause = f"the header gives {found} bytes of pixels, expected {expected}"
            raise UserError("HEADER", path, cause, "export it again")
    used += [(strip.start, strip.start + strip.size) for strip in strips]
    return _gaps(sorted(used), path, size, complete)


def as_meant(image: Image.Image, path: Path) -> Image.Image:
    """The picture where Pillow takes 16 bits of white-is-zero for black-is-zero.

    Raises UserError DTYPE for 32 bits of that kind, and for those beyond 31 bits, which wrap round.
    """
    tags, wide = image.tag_v2, image.mode in ("I", "F")
    unsigned = image.mode == "I" and tags.get(SAMPLE_FORMAT, (1,))[0] == 1
    reversed_ = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    if wide and reversed_ or unsigned and np.asarray(image).min() < 0:
        cause = "32-bit pixels where white is zero" if reversed_ else "pixels beyond 31 bits"
        raise UserError("DTYPE", path, f"{cause} are not read", "save it as 16-bit black-is-zero")
    if reversed_ and image.mode.startswith("I;16"):
        turned = Image.fromarray((WHITE_16 - np.asarray(image)).astype(np.uint16))
        turned.getexif().update(image.getexif())
        return turned
    return image


def check_packed(image: Image.Image, path: Path) -> None:
    """Unpack strips to their end, and deflated ones to their checksums. Raises UserError."""
    measure = UNPACKED.get(image.tag_v2.get(COMPRESSION, RAW))
    if measure is None:
        return
    with open(path, "rb") as stream:
        for strip in _strips(image, path):
            stream.seek(strip.start)
            try:
                found, whole = measure(stream.read(strip.size), strip.unpacked)
            except zlib.error as error:
                cause = f"a strip of pixels cannot be unpacked ({error})"
                raise UserError("CRC", path, cause, "fetch the file again") from error
            if found != strip.unpacked or not whole:
                cause = f"a strip of pixels unpacks to {found} bytes, expected {strip.unpacked}"
                raise UserError("CUT", path, cause, "fetch or export the file again")


def _inflated(strip: bytes, expected: int) -> tuple[int, bool]:
    """How many bytes come out, at most one more than expected, and whether the checksum was met."""
    inflate = zlib.decompressobj()
    return len(inflate.decompress(strip, expected + 1)), inflate.eof


def _packbits(strip: bytes, expected: int) -> tuple[int, bool]:
    """The same for runs as Apple's PackBits stores them, which know no checksum."""
    return packbits_size(strip), True


UNPACKED = {8: _inflated, 32946: _inflated, 32773: _packbits}


def _strips(image: Image.Image, path: Path) -> list[_Strip]:
    """Where the pixels lie: strips, or tiles, which are all of one size."""
    tags = image.tag_v2
    width, height = (int(tags.get(tag, 0)) for tag in (WIDTH, HEIGHT))  # as stored, not as turned
    tiled = TILE_OFFSETS in tags
    starts = tags.get(TILE_OFFSETS if tiled else OFFSETS, ())
    sizes = tags.get(TILE_COUNTS if tiled else COUNTS, ())
    bits, samples = tags.get(BITS, (1,)), int(tags.get(SAMPLES, 1))
    planes = samples if tags.get(PLANAR, 1) == 2 else 1
    rows = min(int(tags.get(ROWS_PER_STRIP, height)) or height, height)
    number = math.ceil(height / rows) * planes
    if len(starts) != len(sizes) or not starts or not tiled and len(starts) != number:
        cause = f"{len(starts)} offsets and {len(sizes)} sizes of strips, expected {number}"
        raise UserError("HEADER", path, cause, "export it again")
    if tiled:
        across, down = (int(tags.get(tag, 0)) for tag in (TILE_WIDTH, TILE_HEIGHT))
        whole = math.ceil(across * max(bits) * (samples // planes) / 8) * down
        return [_Strip(int(a), int(n), whole) for a, n in zip(starts, sizes, strict=True)]
    row = math.ceil(width * max(bits) * (samples // planes) / 8)
    per_plane = number // planes
    found = []
    for k, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        here = min(rows, height - rows * (k % per_plane))
        found.append(_Strip(int(start), int(size), row * here))
    return found


def _directory(path: Path) -> tuple[list[tuple[int, int]], bool]:
    """(from, to) of the header, the first directory and its values; whether that is all there is."""
    raw = path.read_bytes()
    order = "<" if raw[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", raw[2:4])[0] == 43
    word, entry_bytes, inline = ("Q", 20, 8) if big else ("I", 12, 4)
    head, counter = (16, "Q") if big else (8, "H")
    at = struct.unpack_from(f"{order}{word}", raw, head - inline)[0]
    count = struct.unpack_from(f"{order}{counter}", raw, at)[0]
    if count > MOST_TAGS:
        raise _broken(path, f"{count} tags")
    first = at + struct.calcsize(counter)
    used = [(0, head), (at, first + count * entry_bytes + inline)]
    complete, tags = True, set()
    for k in range(count):
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", raw, first + k * entry_bytes)
        if kind not in BYTES_OF or tag in tags:
            raise _broken(path, f"tag {tag} comes twice or is of no known type ({kind})")
        tags.add(tag)
        complete &= tag not in POINTERS
        size = BYTES_OF[kind] * number
        if size > inline:
            place = first + (k + 1) * entry_bytes - inline
            start = struct.unpack_from(f"{order}{word}", raw, place)[0]
            used.append((start, start + size))
    if PHOTOMETRIC not in tags:  # without it Pillow takes black for white
        raise _broken(path, "it lacks PhotometricInterpretation")
    return used, complete


def _broken(path: Path, cause: str) -> UserError:
    return UserError("HEADER", path, f"its directory is broken: {cause}", "fetch the file again")


def _gaps(used: list[tuple[int, int]], path: Path, size: int, complete: bool) -> list[str]:
    lost, at = 0, 0
    raw = path.read_bytes()
    for start, end in [*used, (size, size)]:
        if start < at:
            cause = f"two parts of the file share the bytes from {start} on"
            raise UserError("HEADER", path, cause, "export it again")
        between = raw[at:start]
        if len(between) >= ALIGNED or any(between) or start == size and len(between) > 1:
            lost += len(between)
        at = end
    return [f"{lost} bytes that nothing refers to"] if lost and complete else []
