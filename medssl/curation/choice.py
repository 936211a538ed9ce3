"""A rule carried out in every scope: what is kept, what stands for the rest, and how that varies."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import ceil

import numpy as np
import pandas as pd

from medssl.curation import hamming
from medssl.curation.selection import cover, facility_location, k_centre, medoids
from medssl.curation.signatures import Hash

CURVE_SCOPES, CURVE_UNITS, CURVE_POINTS = 100, 4000, 16
FARTHEST = 3.0  # times the threshold, where the curve ends
BITS = 20  # where it ends for hashes


def scopes(table: pd.DataFrame, patients: pd.Series, scope: str) -> list[np.ndarray]:
    """Row numbers of each volume, of each patient or of all, in order of first appearance."""
    if scope == "cohort":
        return [np.arange(len(table))]
    by = table["item"] if scope == "volume" else table["item"].map(patients)
    numbers = pd.Series(np.arange(len(table)))
    return [rows.to_numpy() for _, rows in numbers.groupby(by.to_numpy(), sort=False)]


def choose(
    signatures: np.ndarray, parts: list[np.ndarray], signature, rule: str, threshold: float,
    budget: float, threads: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:  # fmt: skip
    """(rows, representative, distance) of each scope; representatives are row numbers."""
    inner = threads if len(parts) == 1 else 1

    def one(rows: np.ndarray):
        mine = np.ascontiguousarray(signatures[rows])
        representative, distance = _in_one(mine, signature, rule, threshold, budget, inner)
        return rows, rows[representative], distance

    with ThreadPoolExecutor(threads if len(parts) > 1 else 1) as pool:
        yield from pool.map(one, parts)


def _in_one(mine: np.ndarray, signature, rule: str, threshold: float, budget: float, threads: int):
    if rule == "all":
        return np.arange(len(mine)), np.zeros(len(mine), np.float32)
    if rule == "first" and isinstance(signature, Hash):
        return hamming.cover(mine, int(threshold), threads)
    distances = signature.rows(mine)
    if rule in ("first", "medoid"):
        chosen = cover(distances, len(mine), threshold)
        return chosen if rule == "first" else medoids(distances, chosen, threshold)
    number = ceil(budget * len(mine)) if budget < 1 else int(budget)
    if rule == "k_centre":
        return k_centre(distances, len(mine), number)
    return facility_location(distances, len(mine), number, signature.most)


def curve(
    signatures: np.ndarray, parts: list[np.ndarray], signature, threshold: float, threads: int
):
    """Share that the greedy cover keeps at several thresholds: [(threshold, share)], and of how many.

    Of large cohorts a part is asked: scopes evenly apart, of one scope items evenly apart.
    """
    if len(parts) > 1:
        evenly = np.linspace(0, len(parts) - 1, min(len(parts), CURVE_SCOPES)).astype(int)
        parts = [parts[i] for i in evenly]
    else:
        evenly = np.linspace(0, len(parts[0]) - 1, min(len(parts[0]), CURVE_UNITS)).astype(int)
        parts = [parts[0][evenly]]
    asked = sum(map(len, parts))
    if isinstance(signature, Hash):
        points = sorted({*range(BITS + 1), int(min(threshold, signature.most))})
    else:
        end = FARTHEST * max(threshold, signature.threshold)
        points = sorted({*np.linspace(0, min(end, signature.most), CURVE_POINTS), threshold})
    found = []
    for point in points:
        chosen = choose(signatures, parts, signature, "first", point, 0, threads)
        found.append((float(point), sum(len(np.unique(r)) for _, r, _ in chosen) / asked))
    return found, asked
