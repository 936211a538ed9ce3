"""Ways to spoil bytes, each a function of its generator alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HEAD = 700
NUMBER = re.compile(rb"-?\d+(\.\d+)?")
WORDS = (b"0", b"-1", b"1", b"99999999999", b"4294967296", b"nan", b"1e300", b"0.5", b"")


@dataclass
class Mutation:
    """Spoilt bytes; `touched` are (from, to) in the original, an insertion being (at, at)."""

    raw: bytes
    touched: list[tuple[int, int]]
    kind: str

    def of(self, file: str) -> str:
        """The change in words."""
        return f"{self.kind} of {file} {self.touched[:4]}"


def mutate(raw: bytes, other: bytes, rng: np.random.Generator) -> Mutation:
    """One random change, or now and then two; `other` is a good file to splice from."""
    found = _once(raw, other, rng)
    if rng.random() < 0.1 and len(found.raw) == len(raw):  # else places would mean others
        more = _once(found.raw, other, rng)
        if len(more.raw) == len(raw):
            found = Mutation(more.raw, found.touched + more.touched, f"{found.kind}+{more.kind}")
    return found


def _once(raw: bytes, other: bytes, rng: np.random.Generator) -> Mutation:
    name = rng.choice(list(MUTATORS))
    new, touched = MUTATORS[name](raw, other, rng)
    return Mutation(bytes(new), touched, str(name))


def place(size: int, rng: np.random.Generator) -> int:
    """A byte: anywhere, among the first, or among the last."""
    where = rng.random()
    if where < 0.5:
        return int(rng.integers(min(size, HEAD)))
    if where < 0.6:
        return size - 1 - int(rng.integers(min(size, 64)))
    return int(rng.integers(size))


def block(size: int, rng: np.random.Generator) -> tuple[int, int]:
    """(from, to) of 1 to 4096 bytes, short ones as often as long ones."""
    at = place(size, rng)
    return at, min(size, at + int(2 ** rng.uniform(0, 12)))


def flip(raw: bytes, other: bytes, rng):
    """One to four bits."""
    new, touched = bytearray(raw), []
    for _ in range(int(rng.integers(1, 5))):
        at = place(len(raw), rng)
        new[at] ^= 1 << int(rng.integers(8))
        touched.append((at, at + 1))
    return new, touched


def set_bytes(raw: bytes, other: bytes, rng):
    """A run of up to 16 bytes to 0, 255 or anything."""
    a = place(len(raw), rng)
    b = min(len(raw), a + int(rng.integers(1, 17)))
    value = (bytes(b - a), b"\xff" * (b - a), rng.bytes(b - a))[rng.integers(3)]
    return raw[:a] + value + raw[b:], [(a, b)]


def cut(raw: bytes, other: bytes, rng):
    """The end is lost."""
    at = place(len(raw), rng)
    return raw[:at], [(at, len(raw))]


def insert(raw: bytes, other: bytes, rng):
    """Zeros, noise or bytes of another file come in between."""
    at, count = place(len(raw), rng), int(2 ** rng.uniform(0, 12))
    start = int(rng.integers(len(other)))
    new = (bytes(count), rng.bytes(count), other[start : start + count])[rng.integers(3)]
    return raw[:at] + new + raw[at:], [(at, at)]


def delete(raw: bytes, other: bytes, rng):
    a, b = block(len(raw), rng)
    return raw[:a] + raw[b:], [(a, b)]


def duplicate(raw: bytes, other: bytes, rng):
    a, b = block(len(raw), rng)
    return raw[:b] + raw[a:b] + raw[b:], [(b, b)]


def swap(raw: bytes, other: bytes, rng):
    """Two blocks of one length change places."""
    a, b = block(len(raw), rng)
    c = place(len(raw), rng)
    a, c = min(a, c), max(a, c)
    count = min(b - a if b > a else 1, c - a, len(raw) - c)
    if count < 1:
        return raw, []
    new = bytearray(raw)
    new[a : a + count], new[c : c + count] = raw[c : c + count], raw[a : a + count]
    return new, [(a, a + count), (c, c + count)]


def splice(raw: bytes, other: bytes, rng):
    """A block is overwritten by one of another file."""
    a, b = block(len(raw), rng)
    start = int(rng.integers(len(other)))
    new = other[start : start + b - a]
    return raw[:a] + new + raw[a + len(new) :], [(a, a + len(new))]


def number(raw: bytes, other: bytes, rng):
    """A binary number of 2, 4 or 8 bytes becomes 0, the largest, -1, the smallest or one off."""
    size, order = int(rng.choice([2, 4, 8])), ("little", "big")[rng.integers(2)]
    at = min(place(len(raw), rng) // 2 * 2, max(0, len(raw) - size))
    old = int.from_bytes(raw[at : at + size], order)
    top = 256**size
    new = (0, top // 2 - 1, top - 1, top // 2, old + 1, old - 1, 2 * old)[rng.integers(7)] % top
    return raw[:at] + new.to_bytes(size, order) + raw[at + size :], [(at, at + size)]


def word(raw: bytes, other: bytes, rng):
    """A number written as text in the header becomes another one, or nothing."""
    found = list(NUMBER.finditer(raw[: 3 * HEAD]))
    if not found:
        return number(raw, other, rng)
    a, b = found[rng.integers(len(found))].span()
    return raw[:a] + WORDS[rng.integers(len(WORDS))] + raw[b:], [(a, b)]


def line(raw: bytes, other: bytes, rng):
    """A line of a text header is lost, comes twice or loses its first letter."""
    ends = [m.start() for m in re.finditer(b"\n", raw[: 3 * HEAD])]
    if len(ends) < 2:
        return delete(raw, other, rng)
    k = int(rng.integers(len(ends) - 1))
    a, b = ends[k] + 1, ends[k + 1] + 1
    new = (b"", raw[a:b] * 2, raw[a + 1 : b])[rng.integers(3)]
    return raw[:a] + new + raw[b:], [(a, b)]


MUTATORS: dict[str, Callable] = {
    function.__name__: function
    for function in (
        flip, set_bytes, cut, insert, delete, duplicate, swap, splice, number, word, line,
    )
}  # fmt: skip
