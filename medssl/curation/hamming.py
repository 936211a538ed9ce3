"""Greedy cover of many 64-bit hashes: every one is near an earlier one that is kept.

Two words that differ in at most t bits agree on r of any t + r groups of bits (the pigeonhole behind
multi-index hashing: Norouzi et al., CVPR 2012). So the kept words stand in one table for each choice of r
groups, and a word is compared only with those that agree with it on some choice.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from math import comb

import numpy as np

BLOCK = 2048  # words that are taken up together
PENDING = 8192  # kept words that stand in no table yet
TILE = 1 << 21  # comparisons at a time: what stays in a core's cache
MOST_TABLES = 36  # of two numbers of 4 bytes a word each
LOOK_UP = 40  # a look-up in a table costs as much as so many comparisons


def cover(words: np.ndarray, threshold: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """What `selection.cover` gives, for uint64 (N,): representative int64, distance float32.

    Seconds for a million; memory of 120 to 300 bytes a kept word. `threads` change nothing but time.
    """
    values, first, back = np.unique(words, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # the different words as they first appear
    distinct = values[order]
    found = _cover(distinct, int(threshold), threads)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    representative = first[order][found][place[back]]
    return representative, np.bitwise_count(words ^ words[representative]).astype(np.float32)


def _cover(words: np.ndarray, threshold: int, threads: int) -> np.ndarray:
    """The same for words that all differ: index of each one's representative."""
    found = np.full(len(words), -1, np.int64)
    if threshold == 0:
        return np.arange(len(words))
    kept = _Kept(words, threshold)
    with ThreadPoolExecutor(threads) as pool:
        for low in range(0, len(words), BLOCK):
            block = np.arange(low, min(low + BLOCK, len(words)))
            parts = [part for part in np.array_split(block, threads) if len(part)]
            found[block] = np.concatenate(list(pool.map(kept.nearest, parts)))
            left = block[found[block] < 0]
            close = np.bitwise_count(words[left][:, None] ^ words[left]) <= threshold
            free, new = np.ones(len(left), bool), []
            for i in range(len(left)):
                if free[i]:
                    mine = close[i] & free
                    found[left[mine]] = left[i]
                    free &= ~mine
                    new.append(left[i])
            kept.add(np.array(new, np.int64))
    return found


class _Kept:
    """Indices of the kept words, the older ones in tables of doubling sizes."""

    def __init__(self, words: np.ndarray, threshold: int):
        self.words, self.threshold = words, threshold
        self.tables: list[_Tables] = []
        self.pending = np.empty(0, np.int64)

    def add(self, indices: np.ndarray) -> None:
        self.pending = np.concatenate([self.pending, indices])
        if len(self.pending) < PENDING:
            return
        members, self.pending = self.pending, self.pending[:0]
        while self.tables and len(self.tables[-1].members) <= len(members):
            members = np.concatenate([self.tables.pop().members, members])
        self.tables.append(_Tables(self.words, members, self.threshold))

    def nearest(self, asked: np.ndarray) -> np.ndarray:
        """The earliest kept word within the threshold of each, or -1."""
        found = np.full(len(asked), -1, np.int64)
        left = np.arange(len(asked))
        for tables in self.tables:
            found[left] = tables.earliest(self.words[asked[left]])
            left = left[found[left] < 0]
        found[left] = _earliest(self.words[asked[left]], self.words, self.pending, self.threshold)
        return found


class _Tables:
    def __init__(self, words: np.ndarray, members: np.ndarray, threshold: int):
        self.words, self.members, self.threshold = words, members, threshold
        self.groups = _groups(threshold, len(members))
        self.tables = []
        for shifts in self.groups:
            keys = _keys(words[members], shifts)
            order = np.argsort(keys, kind="stable").astype(np.int32)
            counts = np.bincount(keys, minlength=1 << sum(bits for _, bits in shifts))
            self.tables.append((np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), order))

    def earliest(self, asked: np.ndarray) -> np.ndarray:
        best = np.full(len(asked), len(self.members), np.int64)
        own = self.words[self.members]
        for shifts, (starts, order) in zip(self.groups, self.tables, strict=True):
            keys = _keys(asked, shifts)
            low, many = starts[keys], starts[keys + 1] - starts[keys]
            if many.sum(dtype=np.int64) > len(asked) * len(own) // 4:
                return _earliest(asked, self.words, self.members, self.threshold)
            who = np.repeat(np.arange(len(asked)), many)
            ends = np.cumsum(many)
            candidates = order[np.arange(len(who)) + np.repeat(low - (ends - many), many)]
            close = np.bitwise_count(own[candidates] ^ asked[who]) <= self.threshold
            np.minimum.at(best, who[close], candidates[close])
        return np.append(self.members, -1)[best]


def _groups(threshold: int, n: int) -> list[list[tuple[int, int]]]:
    """Choices of r of t + r groups of bits, each (first bit, bits); one of none if comparing all is
    cheaper. Of long groups only some bits are asked, so that tables are no longer than n."""
    most = max(n.bit_length() - 1, 0)
    costs = {0: float(n)}
    for r in range(1, min(5, 65 - threshold)):
        tables, bits = comb(threshold + r, r), min(64 * r // (threshold + r), most)
        if tables <= MOST_TABLES:
            costs[r] = tables * (LOOK_UP + 8 * n / 2**bits)
    r = min(costs, key=costs.get)
    if not r:
        return [[]]
    edges = np.linspace(0, 64, threshold + r + 1).astype(int)
    longest = max(most // r, 1)
    groups = [(int(a), min(int(b - a), longest)) for a, b in zip(edges, edges[1:], strict=False)]
    return [list(some) for some in combinations(groups, r)]


def _keys(words: np.ndarray, shifts: list[tuple[int, int]]) -> np.ndarray:
    keys = np.zeros(len(words), np.uint64)
    for first, bits in shifts:
        keys = (keys << np.uint64(bits)) | (
            (words >> np.uint64(first)) & np.uint64((1 << bits) - 1)
        )
    return keys.astype(np.int64)


def _earliest(asked: np.ndarray, words: np.ndarray, members: np.ndarray, threshold: int):
    """The first of `members` within the threshold of each asked word, or -1, by comparing all."""
    found = np.full(len(asked), -1, np.int64)
    left = np.arange(len(asked))
    low, step = 0, 256
    while low < len(members) and len(left):
        some = members[low : low + step]
        rows = max(1, TILE // 8 // max(len(some), 1))
        for begin in range(0, len(left), rows):
            who = left[begin : begin + rows]
            close = np.bitwise_count(asked[who][:, None] ^ words[some]) <= threshold
            hit = close.any(1)
            found[who[hit]] = some[close[hit].argmax(1)]
        left = left[found[left] < 0]
        low, step = low + step, min(2 * step, 8192)
    return found
