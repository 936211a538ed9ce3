"""Pictures of an embedding: what lies next to what, and the whole as a map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from medssl.data.store import Store
from medssl.reports.figures import gallery
from medssl.reports.pairs import WHOLE, picture, shown
from medssl.reports.style import LINES, SOFT, styled

SPREAD_OUT = 12  # groups that colours tell apart


def nearest(
    features: np.ndarray, patients: Sequence[str], queries: int, k: int
) -> list[tuple[int, list[int], list[float]]]:
    """For some scans, spread over all of them: the k most alike of other patients, and how alike (cosine)."""
    unit = features - features.mean(0)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    patients = np.asarray(patients)
    found = []
    for i in np.unique(np.linspace(0, len(unit) - 1, min(queries, len(unit))).round().astype(int)):
        alike = unit @ unit[i]
        others = np.flatnonzero(patients != patients[i])
        chosen = others[np.argsort(-alike[others], kind="stable")[:k]]
        found.append((int(i), chosen.tolist(), alike[chosen].tolist()))
    return found


def retrieval(
    store: Store, ids: Sequence[str], features: np.ndarray, queries: int, k: int
) -> Figure | None:
    """A row a scan: itself, then those of other patients that are most alike. None: nothing to show."""
    drawable = [n for n, item in enumerate(ids) if shown(store, item)]
    ids, features = [ids[n] for n in drawable], features[drawable]
    if len(ids) < 2:
        return None
    patients = store.items.loc[ids, "patient"].tolist()
    images, captions = [], []
    for i, others, alike in nearest(features, patients, queries, k):
        if len(others) < k:
            continue  # too few other patients for a whole row
        images += [picture(store, ids[n], WHOLE) for n in (i, *others)]
        captions += [ids[i], *[f"{ids[n]}, {a:.2f}" for n, a in zip(others, alike, strict=True)]]
    return gallery(images, captions, columns=k + 1) if images else None


@styled
def map_of(points: np.ndarray, groups: Sequence[str], name: str, axes: tuple[str, str]) -> Figure:
    """Scans as dots, one colour a group; of too many groups, in one."""
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    axis = figure.add_subplot()
    groups = np.asarray([str(g) for g in groups])
    there = sorted(set(groups))
    if not 1 < len(there) <= SPREAD_OUT:
        axis.scatter(*points.T, s=14, color=LINES[0], linewidths=0)
    else:
        for number, group in enumerate(there):
            at = groups == group
            marker = "os^"[number // len(LINES)]
            colour = LINES[number % len(LINES)]
            axis.scatter(
                *points[at].T, s=14, color=colour, marker=marker, linewidths=0, label=group
            )
        axis.legend(title=name or None, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set_xlabel(axes[0])
    axis.set_ylabel(axes[1])
    axis.tick_params(labelcolor=SOFT)
    return figure
