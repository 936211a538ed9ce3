"""Scans that are near copies of others: the same picture re-windowed, resampled, recompressed or moved.

The search has two stages. Standardised thumbnails name candidates: correlation above `CANDIDATE`, also
after small shifts, a zoom and centring, the `NEAREST` of each scan. Each candidate pair is then laid over
each other and compared window by window (`alignment.alike`), at half the size first.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import reduce
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.curation.alignment import alike
from medssl.curation.resampling import resized
from medssl.data.duplicates import contradictions, groups
from medssl.data.selection import WHOLE
from medssl.progress import track

SAME, NEAR = "same pixels", "near copy"
COLUMNS = ("scan", "copy", "kind", "alike", "differ")

SIDE = {2: 96, 3: 32}  # of what is verified; at 64 pixels, films of two people can be one picture
COARSE = {2: 16, 3: 12}  # of what names candidates
CANDIDATE = 0.7
NEAREST = 10
SHIFT, ZOOM = 0.05, 0.9
COARSELY = 0.08  # what a pair may lack at half the size, to be looked at in full
ALIKE = 0.98  # neighbouring slices of 2 mm, laid over each other, stay below; copies do not
ROWS, PAIRS = 512, 256
PERCENTILES = (0.5, 99.5)


class Thumbnails:
    """What is compared, read as signatures are: uint8 (*[side] * axes) of each scan."""

    def of(self, images: Tensor, value_range) -> np.ndarray:
        return np.stack([thumbnail(image) for image in images.numpy()])


def thumbnail(image: np.ndarray) -> np.ndarray:
    """float32 (C, *spatial) to uint8 (*[side] * axes), stretched between its own percentiles."""
    grey = image.mean(0)
    low, high = np.percentile(grey, PERCENTILES)
    grey = np.clip((grey - low) * (255 / max(high - low, 1e-6)), 0, 255)
    pixels = torch.from_numpy(np.rint(grey).astype(np.uint8))
    return resized(pixels[None], (SIDE[pixels.ndim],) * pixels.ndim)[0].numpy()


def within(items: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    """Every scan that is a copy of an earlier one: scan, copy, kind, alike, and in what they differ.

    Those that differ in a label come first, then in split, then in patient. `items` is a
    store's table, `thumbnails` of all its scans.
    """
    same = [(ids[0], id) for ids in groups(items["pixels"]) for id in ids[1:]]
    pictures, first = np.unique(items["pixels"], return_index=True)
    scans = items.groupby("pixels")["id"].agg(list).loc[pictures].tolist()
    place = {id: i for i, id in enumerate(items["id"])}
    pairs = [
        (*sorted(pair, key=place.get), NEAR, r.alike)
        for r in near(thumbnails[first]).itertuples()
        for pair in product(scans[r.a], scans[r.b])
    ]
    rows = [(a, b, SAME, 1.0) for a, b in same] + pairs
    table = [(*row, ", ".join(contradictions([row[0], row[1]], items))) for row in rows]
    return _sorted(table)


def between(
    items: pd.DataFrame, thumbnails: np.ndarray, others: pd.DataFrame, other_thumbnails: np.ndarray
) -> pd.DataFrame:
    """Scans of one store that another holds too: scan here, copy there, kind, alike.

    Of scans there that have the same pixels the first is named.
    """
    pictures, first = np.unique(others["pixels"], return_index=True)
    there = dict(zip(pictures, others.index[first], strict=True))
    same = [(i, there[p], SAME, 1.0) for i, p in items["pixels"].items() if p in there]
    known = {(a, b) for a, b, *_ in same}
    found = near(thumbnails, other_thumbnails[first]).itertuples()
    pairs = ((items.index[r.a], others.index[first[r.b]], NEAR, r.alike) for r in found)
    rows = same + [row for row in pairs if row[:2] not in known]
    return _sorted([(*row, "") for row in rows])


def drop(table: pd.DataFrame, items: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """A scan that is a copy of an earlier one that stays goes, with all its slices: of the same
    pixels, or one of `pairs`. `table` is that of a selection."""
    rows = {item: found.index.to_numpy() for item, found in table.groupby("item", sort=False)}
    linked = defaultdict(set)
    for a, b in zip(pairs["scan"], pairs["copy"], strict=True):
        linked[a].add(b)
        linked[b].add(a)
    stays: dict[
        str, str
    ] = {}  # by fingerprint of the pixels, the first of each of which something is kept
    gone: dict[str, str] = {}
    stand = ["representative", "representative_slice"]
    for item, mine in rows.items():
        pixels = items.at[item, "pixels"]
        twin = stays.get(pixels) or next((i for i in stays.values() if i in linked[item]), None)
        if twin is None:
            if table.loc[mine, "kept"].any():
                stays[pixels] = item
            continue
        gone[item], theirs = twin, rows[twin]
        if same := items.at[item, "key"] == items.at[twin, "key"]:  # lies the same way round
            heirs = theirs[table.loc[mine, "kept"].to_numpy()]
            table.loc[heirs, "kept"], table.loc[heirs, "distance"] = True, 0.0
            table.loc[heirs, stand] = table.loc[heirs, ["item", "slice"]].to_numpy()
        table.loc[mine, ["kept", "distance"]] = [False, 0.0]
        table.loc[mine, stand] = [twin, WHOLE]
        if same:
            columns = [*stand, "distance"]
            table.loc[mine, columns] = table.loc[theirs, columns].to_numpy()
    # What one that has gone stood for, its twin stands for.
    for row in table.index[table["representative"].isin(gone)]:
        item, at = table.loc[row, stand]
        same = items.at[item, "key"] == items.at[gone[item], "key"]
        table.loc[row, stand] = [gone[item], at if same else WHOLE]


def _sorted(rows: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    worst = table["differ"].map(_severity).to_numpy()
    order = np.lexsort([table["copy"], table["scan"], -table["alike"], -worst])
    return table.iloc[order].reset_index(drop=True)


def _severity(differ: str) -> int:
    return 4 * ("label" in differ) + 2 * ("split" in differ) + (differ != "")


def near(
    thumbnails: np.ndarray, others: np.ndarray | None = None, least: float = ALIKE
) -> pd.DataFrame:
    """Pairs of scans alike: columns a, b (numbers), alike (at most 1), most alike first.

    uint8 (N, *[side] * axes); with `others` pairs of one of either, else each pair once, a < b.
    """
    left = torch.from_numpy(thumbnails)
    right = left if others is None else torch.from_numpy(others)
    pairs = candidates(left, right, others is None)
    half = (left.shape[-1] // 2,) * (left.ndim - 1)
    coarse = _compared(resized(left, half), resized(right, half), pairs, "compare")
    pairs = pairs[coarse >= least - COARSELY]
    found = _compared(left, right, pairs, "verify")
    table = pd.DataFrame({"a": pairs[:, 0], "b": pairs[:, 1], "alike": found})
    table = table[table["alike"] >= least]
    return table.sort_values(["alike", "a", "b"], ascending=[False, True, True], ignore_index=True)


def _compared(left: Tensor, right: Tensor, pairs: np.ndarray, what: str) -> np.ndarray:
    found = np.zeros(len(pairs), np.float32)
    for low in track(range(0, len(pairs), PAIRS), what, unit="blocks of pairs"):
        a, b = pairs[low : low + PAIRS].T
        found[low : low + PAIRS] = alike(left[a], right[b]).numpy()
    return found


def candidates(left: Tensor, right: Tensor, same: bool) -> np.ndarray:
    """int64 (P, 2): for each on the left its nearest on the right, whichever variant of it is nearest."""
    plain, centre = _standard(left, lambda images: [images, _centred(images)])
    *variants, centred = _standard(right, lambda images: [*_variants(images), _centred(images)])
    pairs = set()
    for low in range(0, len(plain), ROWS):
        rows = plain[low : low + ROWS]
        found = reduce(torch.maximum, (rows @ variant.T for variant in variants))
        found = torch.maximum(found, centre[low : low + ROWS] @ centred.T)
        if same:
            found[torch.arange(len(rows)), torch.arange(low, low + len(rows))] = -1
        best, which = found.topk(min(NEAREST, found.shape[1]), 1)
        for i, j in zip(*torch.nonzero(best >= CANDIDATE, as_tuple=True), strict=True):
            a, b = low + int(i), int(which[i, j])
            pairs.add((min(a, b), max(a, b)) if same else (a, b))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _standard(images: Tensor, vary: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
    """Of each variant, coarse images as vectors of mean 0 and length 1; zeros for constant ones."""
    axes, found = images.ndim - 1, []
    for some in images.split(ROWS):  # variants of all would be many times their memory
        shown = torch.stack(vary(some))
        flat = resized(shown.flatten(0, 1), (COARSE[axes],) * axes).flatten(1).float()
        flat -= flat.mean(1, keepdim=True)
        flat /= flat.norm(dim=1, keepdim=True).clamp(min=1e-6)
        found.append(flat.view(len(shown), len(some), -1))
    return list(torch.cat(found, 1))


def _centred(images: Tensor) -> Tensor:
    """Moved until the centre of what is bright lies in the middle: for shifts along several axes."""
    axes, found = images.ndim - 1, []
    for some in images.split(PAIRS // 4):
        x = some[:, None].float()
        total = x.flatten(1).sum(1).clamp(min=1)
        theta = torch.eye(axes, axes + 1).repeat(len(x), 1, 1)
        for axis in range(axes):
            places = (torch.arange(x.shape[-1 - axis]) + 0.5) * (2 / x.shape[-1 - axis]) - 1
            along = x.movedim(-1 - axis, -1).flatten(1, -2).sum(1)
            theta[:, axis, axes] = (along * places).sum(1) / total
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
        found.append(moved[:, 0].round_().to(torch.uint8))
    return torch.cat(found)


def _variants(images: Tensor) -> list[Tensor]:
    """As they are, moved a little along each axis either way, and zoomed into."""
    axes, side = images.ndim - 1, images.shape[-1]
    by, edge = round(side * SHIFT), round(side * (1 - ZOOM) / 2)
    found = [images]
    for axis in range(1, axes + 1):
        for step in (by, -by):
            places = (torch.arange(side) + step).clamp(0, side - 1)
            found.append(images.index_select(axis, places))
    inner = images[(slice(None), *[slice(edge, side - edge)] * axes)]
    return [*found, resized(inner.contiguous(), (side,) * axes)]
