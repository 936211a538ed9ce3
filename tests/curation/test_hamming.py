import numpy as np
import pytest

from medssl.curation import hamming
from medssl.curation.hashes import distances
from medssl.curation.selection import cover


def chains(n: int, draws: np.random.Generator) -> np.ndarray:
    """Hashes of slices: neighbours differ in a bit or two."""
    flips = np.uint64(1) << draws.integers(0, 64, n).astype(np.uint64)
    flips[draws.random(n) < 0.3] = 0
    flips[:: n // 10] = draws.integers(0, 2**63, len(flips[:: n // 10]))
    return np.bitwise_xor.accumulate(flips.astype(np.uint64))


DRAW = np.random.default_rng(0)
KINDS = {
    "slices": chains(5000, DRAW),
    "unrelated": DRAW.integers(0, 2**64, 12000, dtype=np.uint64),
    "few bits": DRAW.integers(0, 2**18, 8000, dtype=np.uint64),
    "skewed": DRAW.integers(0, 2**64, 9000, dtype=np.uint64) & DRAW.integers(0, 2**64, 9000, dtype=np.uint64),
    "air": np.zeros(3000, np.uint64),
    "one": np.array([5], np.uint64),
}  # fmt: skip


@pytest.mark.parametrize("threshold", [0, 1, 3, 6, 12, 40, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_greedy_cover(kind, threshold):
    words = KINDS[kind]
    if kind == "unrelated" and threshold < 12:
        words = words[:6000]  # the plain loop is slow
    plain = cover(lambda i, others: distances(words[others], words[i]), len(words), threshold)
    found = hamming.cover(words, threshold)
    assert np.array_equal(found[0], plain[0]) and np.array_equal(found[1], plain[1])


def test_threads_and_tables_of_any_size_change_nothing(monkeypatch):
    words = np.concatenate([KINDS["slices"], KINDS["skewed"]])
    one = hamming.cover(words, 6)
    assert np.array_equal(hamming.cover(words, 6, threads=3)[0], one[0])
    monkeypatch.setattr(hamming, "PENDING", 100)  # many small tables
    monkeypatch.setattr(hamming, "BLOCK", 77)
    monkeypatch.setattr(hamming, "LOOK_UP", 0)  # tables wherever there can be some
    for threshold in (1, 3, 6, 9):
        plain = cover(lambda i, others: distances(words[others], words[i]), len(words), threshold)
        assert np.array_equal(hamming.cover(words, threshold, 2)[0], plain[0])


@pytest.mark.parametrize("threshold", [1, 3, 6, 12])
def test_words_within_the_threshold_agree_on_some_choice_of_bits(threshold):
    draw = np.random.default_rng(threshold)
    a = draw.integers(0, 2**64, 2000, dtype=np.uint64)
    flips = np.stack([draw.permutation(64)[:threshold] for _ in a]).astype(np.uint64)
    b = a ^ np.bitwise_or.reduce(np.uint64(1) << flips, 1)
    groups = hamming._groups(threshold, 10**6)
    assert len(groups) > 1 or threshold == 12  # where all are compared
    met = np.zeros(len(a), bool)
    for shifts in groups:
        met |= hamming._keys(a, shifts) == hamming._keys(b, shifts)
    assert met.all()
