"""From a table of cases to named figures with intervals, and to differences between two tables.

What a table holds says what it is of:

segmentation    a row a case and class: `id`, `patient`, `class`, `dice`, ... (MEASURES)
classification  a row a case: `truth`, `predicted`, `score_<class>`; maybe `untempered`, how sure of
                the surest class before a temperature was fitted; of grades in order also `truth_step`
                and `predicted_step`
labels          a row a case: `truth_<label>` (0, 1 or NaN), `score_<label>`
numbers         a row a case: `truth`, `predicted`, and `usual`, the mean of the training scans
boxes           a row a box: `box` (truth, found, ignored of a region that is, or empty of a case without
                any), `class`, `score`, `iou` (from which on a box counts as found), and its edges, x0 to
                y1 or z1
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from medssl.evaluation import classification
from medssl.evaluation.detection import EDGES, Boxes, of_boxes
from medssl.evaluation.intervals import (
    Interval,
    bootstrap,
    bootstrap_statistics,
    intervals_of,
    resampled,
    resampled_difference,
)

MEASURES = ("dice", "nsd", "hd95_mm", "lesion_sensitivity", "lesion_f1")
SCORE, TRUTH = "score_", "truth_"
Figures = Callable[[np.ndarray], dict[str, np.ndarray]]


def summary(cases: pd.DataFrame, **bootstrapped) -> dict[str, Interval]:
    """Every figure of a table of cases; `bootstrapped` takes n and seed."""
    if figures := figures_of(cases):
        return bootstrap_statistics(figures, _once(cases)["patient"], **bootstrapped)
    return {
        name: bootstrap(t["value"].to_numpy(float), t["patient"].to_numpy(), **bootstrapped)
        for name, t in _by_class(cases)
    }


def differences(cases: pd.DataFrame, other: pd.DataFrame, **bootstrapped) -> dict[str, Interval]:
    """The same figures as differences, `cases` minus `other`, of the same patients in every resample.

    Both hold the same cases (ValueError otherwise), in any order.
    """
    return {
        name: interval
        for name, (interval, _) in resampled_differences(cases, other, **bootstrapped).items()
    }


def resampled_differences(
    cases: pd.DataFrame, other: pd.DataFrame, *, n: int = 2000, seed: int = 0
) -> dict[str, tuple[Interval, np.ndarray]]:
    """`differences`, each with that of every resample (n,), which a p-value is made of."""
    if "box" in cases:
        order = list(cases["id"].unique())
        a, b = (t.set_index("id", drop=False).rename_axis(None) for t in (cases, other))
    else:
        keys = ["id", "class"] if "class" in cases else ["id"]
        a, b = (t.set_index(keys, drop=False) for t in (cases, other))
        order = a.index
    if set(a.index) != set(b.index):
        raise ValueError("the tables hold different cases")
    b = in_order_of(b.loc[order], a)
    one, two = figures_of(a), figures_of(b)
    if one:

        def gain(weights: np.ndarray) -> dict[str, np.ndarray]:
            ours, theirs = one(weights), two(weights)
            return {name: ours[name] - theirs[name] for name in ours if name in theirs}

        patients = _once(a)["patient"]
        estimates, samples = resampled(gain, patients, n=n, seed=seed)
        intervals = intervals_of(estimates, samples, patients, seed=seed)
        return {name: (intervals[name], samples[name]) for name in estimates}
    found, others = {}, dict(_by_class(other))
    for name, t in _by_class(cases):
        if name in others:
            both = t.join(others[name]["value"].rename("other"))
            ours, theirs = (both[k].to_numpy(float) for k in ("value", "other"))
            found[name] = resampled_difference(
                ours, theirs, both["patient"].to_numpy(), n=n, seed=seed
            )
    return found


def every_figure(cases: pd.DataFrame) -> Figures:
    """Every figure of weights (R, cases), each case where it first comes in a table."""
    if figures := figures_of(cases):
        return figures
    order = cases["id"].unique()
    values = {name: t["value"].reindex(order).to_numpy(float) for name, t in _by_class(cases)}

    def of(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: (weights @ np.nan_to_num(v)) / (weights @ ~np.isnan(v))
            for name, v in values.items()
        }

    return of


def scored(cases: pd.DataFrame) -> dict[str, set[str]]:
    """By figure of segmentations the patients of whom it says something: a class that neither truth nor
    prediction holds in any of their scans leaves it without a value. Other figures are of all."""
    if figures_of(cases):
        return {}
    return {name: set(t.dropna(subset="value")["patient"]) for name, t in _by_class(cases)}


def figure_names(cases: pd.DataFrame) -> list[str]:
    """The figures that a table of cases gives."""
    return list(every_figure(cases)(np.ones((1, cases["id"].nunique()))))


def in_order_of(cases: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The same table with its columns as another has them: which of two classes is the second, whose
    figures are given, follows from it."""
    shared = [c for c in other if c in cases]
    return cases[shared + [c for c in cases if c not in other]]


def boxes_of(cases: pd.DataFrame) -> tuple[list[Boxes], list[Boxes], dict[int, str]]:
    """(found, true) boxes of each case of a table, in the order in which they come, and the classes: those
    that there are to find."""
    of_kind = {kind: cases[cases["box"] == kind] for kind in ("found", "truth", "ignored")}
    named = of_kind["truth"] if len(of_kind["truth"]) else of_kind["found"]
    classes = dict(enumerate(sorted(named["class"].unique())))
    number, edges = {name: k for k, name in classes.items()}, list(EDGES[3 if "z0" in cases else 2])
    each = []
    for rows in of_kind.values():
        rows = rows[rows["class"].isin(number)]
        of_case = {i: t for i, t in rows.groupby("id")}
        empty = rows.iloc[:0]
        each.append([
            Boxes(
                t[edges].to_numpy(float), t["class"].map(number).to_numpy(int), t["score"].to_numpy(float)
            )
            for t in (of_case.get(i, empty) for i in cases["id"].unique())
        ])  # fmt: skip
    found, true, ignored = each
    return found, [replace(t, ignored=i) for t, i in zip(true, ignored, strict=True)], classes


def _once(cases: pd.DataFrame) -> pd.DataFrame:
    """One row a case."""
    return cases.drop_duplicates("id")


def figures_of(cases: pd.DataFrame) -> Figures | None:
    """Figures of weights (R, cases), each case where it first comes in a table; None for segmentations."""
    if "box" in cases:
        found, true, classes = boxes_of(cases)
        least = float(cases["iou"].iloc[0])
        return lambda weights: of_boxes(found, true, classes, weights, least)
    names = [c.removeprefix(SCORE) for c in cases if c.startswith(SCORE)]
    scores = cases[[SCORE + c for c in names]].to_numpy(float)
    if "usual" in cases:
        columns = [cases[c].to_numpy(float) for c in ("truth", "predicted", "usual")]
        return lambda weights: classification.of_numbers(*columns, weights)
    if "truth" in cases:
        number = {name: k for k, name in enumerate(names)}
        truth, told = (cases[c].map(number).to_numpy() for c in ("truth", "predicted"))

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            found = classification.of_classes(truth, scores, weights, names, told)
            if "untempered" in cases:
                sure, right = cases["untempered"].to_numpy(float), scores.argmax(1) == truth
                found["calibration_error before temperature"] = classification.calibration_error(
                    sure, right, weights
                )
            if "truth_step" in cases:
                steps = (cases[c].to_numpy(float) for c in ("truth_step", "predicted_step"))
                found |= classification.of_steps(*steps, weights)
            return found

        return of
    if names and TRUTH + names[0] in cases:
        truths = cases[[TRUTH + c for c in names]].to_numpy(float)
        return lambda weights: classification.of_labels(truths, scores, weights, names)
    return None


def _by_class(cases: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(name of the figure, value and patient of each case), mean of classes first."""
    for measure in (m for m in MEASURES if m in cases):
        means = cases.groupby("id").agg(value=(measure, "mean"), patient=("patient", "first"))
        yield f"{measure}, mean of classes", means
        for name, rows in cases.groupby("class", sort=False):
            yield f"{measure}, {name}", rows.set_index("id").rename(columns={measure: "value"})
