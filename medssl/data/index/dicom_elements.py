"""The elements of an ordinary DICOM header, found by their lengths alone.

An archive holds a hundred thousand files whose headers are all alike: little-endian, well-formed,
a hundred elements of which thirty matter. Those are walked here, at several times the speed of a
general reader. Whatever is out of the ordinary is left to pydicom (`ordinary` returns None).
"""

import io
import os
import struct
from collections.abc import Iterator
from functools import lru_cache

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

META = 132
BLOCK = 1 << 15
DEEPEST = 8
MOST_PIECES = 20_000
UNDEFINED = 0xFFFFFFFF
SYNTAX, CHARSET = 0x00020010, 0x00080005
NOTHING = frozenset()
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
ORDINARY = frozenset(AllTransferSyntaxes) - {ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHI").unpack_from
_long = struct.Struct("<I").unpack_from


def ordinary(stream: io.FileIO, wanted: frozenset[int], longest: int) -> FileDataset | None:
    """The wanted elements up to the pixels, as raw elements of a dataset, or None.

    Values over `longest` bytes are deferred, as pydicom does; the pixels are always. None says that
    pydicom must read the file: no preamble, another byte order, deflated, elements out of order,
    lengths beyond the end or unusually many elements.
    """
    size = os.fstat(stream.fileno()).st_size
    walk = _Walk(stream, size)
    if walk.piece(128, 4) != b"DICM":
        return None
    try:
        meta = _meta(walk)
        syntax = meta[SYNTAX].value.rstrip(b"\0 ").decode("ascii")
        if syntax not in ORDINARY:
            return None
        walk.implicit = syntax == ImplicitVRLittleEndian
        found = {}
        for tag, vr, length, at in walk.elements(walk.at, size, wanted | {CHARSET}):
            found[tag] = walk.element(tag, vr, length, at, longest)
            if tag in PIXELS and length != UNDEFINED:
                break
    except (_Odd, KeyError, UnicodeDecodeError):
        return None
    return _dataset(stream.name, walk, meta, found)


class _Odd(Exception):
    """What an ordinary file does not hold."""


class _Walk:
    """A file seen through one block that moves along; `at` is where the last walk ended."""

    def __init__(self, stream: io.FileIO, size: int):
        self.stream, self.size = stream, size
        self.start, self.block = 0, stream.read(BLOCK)
        self.at = self.pieces = 0
        self.implicit = False

    def place(self, at: int, count: int) -> int:
        """Where the block holds `at`; it holds `count` bytes from there on, fewer at the file's end."""
        place = at - self.start
        if place < 0 or place + count > len(self.block):
            self.stream.seek(at)
            self.start, self.block, place = at, self.stream.read(max(BLOCK, count)), 0
        return place

    def piece(self, at: int, count: int) -> bytes:
        """`count` bytes at `at`; fewer at the end of the file."""
        place = self.place(at, count)
        return self.block[place : place + count]

    def elements(
        self, at: int, end: int, wanted: frozenset[int] | None, depth: int = 0
    ) -> Iterator[tuple[int, bytes | None, int, int]]:
        """(tag, VR, length, place of the value) of each wanted element, or all, in order of tags.

        Ends at `end`, or at the mark that closes an item. Raises _Odd for all that is not ordinary.
        """
        last = -1
        while at < end:
            place = self.place(at, 12)
            self.pieces += 1
            if len(self.block) - place < 8 or self.pieces > MOST_PIECES:
                raise _Odd
            group, element, vr, length = _explicit(self.block, place)
            tag, at = group << 16 | element, at + 8
            if depth and tag == ITEM_END:
                break
            if tag <= last or group == 0xFFFE:
                raise _Odd
            last = tag
            if self.implicit:
                vr, length = None, _long(self.block, place + 4)[0]
            elif vr not in SHORT:
                if vr not in LONG or length or len(self.block) - place < 12:
                    raise _Odd
                length, at = _long(self.block, place + 8)[0], at + 4
            # What is cut off among the pixels is for the reader to count.
            if length != UNDEFINED and tag not in PIXELS and at + length > end:
                raise _Odd
            if wanted is None or tag in wanted:
                yield tag, vr, length, at
            at = self._items_end(at, depth) if length == UNDEFINED else at + length
        self.at = at

    def _items_end(self, at: int, depth: int) -> int:
        """Where a sequence of undefined length ends."""
        while depth < DEEPEST:
            head = self.piece(at, 8)
            if len(head) < 8:
                break
            group, element, length = _implicit(head)
            tag, at = group << 16 | element, at + 8
            if tag == SEQUENCE_END:
                return at
            if tag != ITEM:
                break
            if length == UNDEFINED:
                for _ in self.elements(at, self.size, NOTHING, depth + 1):
                    pass
                at = self.at
            else:
                at += length
        raise _Odd

    def element(
        self, tag: int, vr: bytes | None, length: int, at: int, longest: int
    ) -> RawDataElement:
        """A raw element. Raises _Odd for a wanted sequence of undefined length."""
        value, vr = None, vr and vr.decode()
        if length > longest and tag == CHARSET or length == UNDEFINED and tag not in PIXELS:
            raise _Odd
        if not length:
            value = empty_value_for_VR(vr, raw=True)
        elif length <= longest and tag not in PIXELS:
            value = self.piece(at, length)
        return RawDataElement(BaseTag(tag), vr, length, value, at, self.implicit, True)


def _meta(walk: _Walk) -> dict[int, RawDataElement]:
    """The elements of group 2, whose first one gives the length of the others."""
    group, element, vr, length = _explicit(walk.piece(META, 12).ljust(12))
    if (group, element, vr, length) != (2, 0, b"UL", 4):
        raise _Odd
    first = META + 12
    end = first + _long(walk.piece(META + 8, 4))[0]
    found = {
        tag: walk.element(tag, vr, length, at, BLOCK)
        for tag, vr, length, at in walk.elements(first, min(end, walk.size), None)
    }
    if walk.at != end or any(tag >> 16 != 2 for tag in found):
        raise _Odd
    return found


def _dataset(name: str, walk: _Walk, meta: dict, found: dict) -> FileDataset:
    file_meta = FileMetaDataset(meta)
    file_meta.set_original_encoding(False, True, default_encoding)
    read = FileDataset(name, found, walk.piece(0, 128), file_meta, walk.implicit, True)
    read.set_original_encoding(walk.implicit, True, _encodings(found.get(CHARSET)))
    return read


def _encodings(charset: RawDataElement | None) -> str | list[str]:
    return default_encoding if charset is None else _converted(charset.value or b"")


@lru_cache
def _converted(charset: bytes) -> list[str]:
    raw = RawDataElement(BaseTag(CHARSET), "CS", len(charset), charset, 0, False, True)
    return convert_encodings(convert_raw_data_element(raw).value)
