"""Known words in any file: as text, UTF-16, Latin-1 or base64, and inside compressed streams."""

import base64
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from medssl.errors import UserError
from medssl.privacy import spellings

SHORTEST = 4
FEWEST_BASE64 = 8  # characters; fewer are found in any picture by chance
MOST_UNPACKED = 1 << 28
DEEPEST = 3
PIECE = 1 << 12
STREAM = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
DATA_URI = re.compile(rb"base64,([A-Za-z0-9+/]{16,}={0,2})")
KEYS = 1 << 24


class Words:
    """Finds thousands of words at once, each in the case given, in lower and upper case, and capitalised,
    with accents as characters of their own or not."""

    def __init__(self, words: Iterable[str]):
        """Raises UserError WORDS for words of under four bytes, which are found by chance."""
        self._by_start: dict[int, list[tuple[bytes, str, str]]] = defaultdict(list)
        for word in sorted(set(words)):
            if len(word.encode()) < SHORTEST:
                raise UserError(
                    "WORDS", f"a word of {len(word)} characters", "is found in any file by chance",
                    f"give words of at least {SHORTEST} characters",
                )  # fmt: skip
            for pattern, how in _forms(word).items():
                self._by_start[_key(pattern)].append((pattern, how, word))
        self._is_start = np.zeros(KEYS, bool)
        self._is_start[list(self._by_start)] = True

    def find(self, data: bytes, inside: str = "", depth: int = 0) -> Iterator[tuple[str, str, int]]:
        """(word, how, byte) of every hit; `how`: text, UTF-16, Latin-1 or base64, and in which streams."""
        for at in self._candidates(data):
            for pattern, how, word in self._by_start[_key(data[at : at + 3])]:
                if data.startswith(pattern, at):
                    yield word, f"{how}{inside}", at
        if depth < DEEPEST:
            for kind, at, inner in streams(data):
                for word, how, _ in self.find(inner, f" in {kind}{inside}", depth + 1):
                    yield word, how, at

    def _candidates(self, data: bytes) -> Iterator[int]:
        """Where three bytes stand that a form begins with."""
        values = np.frombuffer(data, np.uint8)
        for start in range(0, len(values) - 2, 1 << 22):
            part = values[start : start + (1 << 22) + 2].astype(np.uint32)
            keys = part[:-2] << 16 | part[1:-1] << 8 | part[2:]
            for at in np.flatnonzero(self._is_start[keys]):
                yield start + int(at)


def streams(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(kind, byte, content) of zlib and gzip streams, whole or cut off, and of base64 data URIs."""
    end = 0
    for found in STREAM.finditer(data):
        if found.start() < end:
            continue  # inside a stream that was unpacked to its end
        inner, used = _unpacked(memoryview(data)[found.start() :])
        if inner:
            yield "gzip" if found.group()[:1] == b"\x1f" else "zlib", found.start(), inner
        end = found.start() + used
    for found in DATA_URI.finditer(data):
        text = found.group(1)
        yield "base64", found.start(), base64.b64decode(text[: len(text) // 4 * 4])


def _unpacked(data: memoryview) -> tuple[bytes, int]:
    """What can be unpacked of a stream, and its bytes if it is whole, else 0.

    A PNG's stream is spread over chunks, a cut one has no end.
    """
    unpacker, out, at, tail = zlib.decompressobj(47), bytearray(), 0, b""
    try:
        while (tail or at < len(data)) and len(out) < MOST_UNPACKED and not unpacker.eof:
            piece, at = (tail, at) if tail else (data[at : at + PIECE], at + PIECE)
            out += unpacker.decompress(piece, 1 << 20)
            tail = unpacker.unconsumed_tail
    except zlib.error:
        return bytes(out), 0  # bytes that only look like a stream, or its damaged end
    used = min(at, len(data)) - len(unpacker.unused_data) if unpacker.eof else 0
    return bytes(out), used


def _forms(word: str) -> dict[bytes, str]:
    found = {}
    given, cases = spellings(word), (str, str.lower, str.upper, str.title)
    for text in {case(each) for each in given for case in cases}:
        plain, wide = text.encode(), text.encode("utf-16-le")
        found[plain] = "text"
        found[wide] = "UTF-16"  # little endian; big endian is the same, one zero later
        found[text.encode("utf-16-be")] = "UTF-16"
        narrow = text.encode("latin-1", "ignore")
        if not text.isascii() and len(narrow) == len(text) >= SHORTEST:
            found[narrow] = "Latin-1"
        for data in (plain, wide):
            for pattern in base64_forms(data):
                found.setdefault(pattern, "base64")
    return found


def base64_forms(data: bytes) -> set[bytes]:
    """What base64, standard and for URLs, makes of bytes wherever they lie in what is encoded.

    Characters that also depend on the neighbours are left out; forms under eight are dropped.
    """
    forms = set()
    for shift in range(3):
        bits = 8 * shift, 8 * (shift + len(data))
        first, last = -(-bits[0] // 6), bits[1] // 6
        code = base64.b64encode(b"\0" * shift + data)[first:last]
        if len(code) >= FEWEST_BASE64:
            forms |= {code, code.replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def _key(start: bytes) -> int:
    return int.from_bytes(start[:3], "big")
