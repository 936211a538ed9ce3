"""From a table of cases to named figures with intervals, and to differences between two tables.

A segmentation's cases have a row a case and class (`id`, `patient`, `class`, `dice`, `nsd`), a
classification's a row a case (`id`, `patient`, `truth`, `predicted`, `score_<class>`).
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from medssl.evaluation.intervals import (
    Interval,
    bootstrap,
    bootstrap_statistics,
    paired_difference,
)
from medssl.evaluation.metrics import classification_scores

MEASURES = ("dice", "nsd")
SCORE = "score_"


def summary(cases: pd.DataFrame, **bootstrapped) -> dict[str, Interval]:
    """Every figure of a table of cases; `bootstrapped` takes n and seed."""
    if _is_classification(cases):
        return bootstrap_statistics(_classified(cases), cases["patient"], **bootstrapped)
    return {
        name: bootstrap(t["value"].to_numpy(float), t["patient"].to_numpy(), **bootstrapped)
        for name, t in _by_class(cases)
    }


def differences(cases: pd.DataFrame, other: pd.DataFrame, **bootstrapped) -> dict[str, Interval]:
    """The same figures as differences, `cases` minus `other`, case by case or resample by resample.

    Both hold the same cases (ValueError otherwise), in any order. A segmentation's measure that
    either lacks is left out.
    """
    keys = ["id"] if _is_classification(cases) else ["id", "class"]
    a, b = (t.set_index(keys, drop=False) for t in (cases, other))
    if set(a.index) != set(b.index):
        raise ValueError("the tables hold different cases")
    b = b.loc[a.index]
    if _is_classification(cases):
        scores, others = _classified(a), _classified(b)

        def gain(rows: np.ndarray) -> dict[str, float]:
            one, two = scores(rows), others(rows)
            return {name: one[name] - two[name] for name in one}

        return bootstrap_statistics(gain, a["patient"], **bootstrapped)
    found, others = {}, dict(_by_class(other))
    for name, t in _by_class(cases):
        if name in others:
            both = t.join(others[name]["value"].rename("other"))
            values = (both[k].to_numpy(float) for k in ("value", "other"))
            found[name] = paired_difference(*values, both["patient"].to_numpy(), **bootstrapped)
    return found


def compared(
    arms: dict[str, list[pd.DataFrame]], figure: str = "auroc", **bootstrapped
) -> pd.DataFrame:
    """A figure of classification, averaged over each arm's runs, and its difference from the first arm.

    arms  tables of runs that differ in their seeds; all hold the same cases (ValueError otherwise)

    A row an arm: the figure's and the difference's estimate, low and high. Patients are resampled, with
    what every run says of them. Runs are not, being too few: the interval speaks of other patients, not
    of other seeds.
    """
    tables = {name: [t.set_index("id") for t in runs] for name, runs in arms.items()}
    base, *_ = tables
    cases = tables[base][0]
    if any(set(t.index) != set(cases.index) for runs in tables.values() for t in runs):
        raise ValueError("the tables hold different cases")
    scores = {
        name: [_classified(t.loc[cases.index]) for t in runs] for name, runs in tables.items()
    }

    def of(rows: np.ndarray) -> dict[tuple[str, str], float]:
        means = {name: np.mean([s(rows)[figure] for s in runs]) for name, runs in scores.items()}
        return {(name, figure): mean for name, mean in means.items()} | {
            (name, "difference"): mean - means[base] for name, mean in means.items()
        }

    table = pd.DataFrame(index=pd.Index(tables, name="arm"))
    for (name, column), interval in bootstrap_statistics(
        of, cases["patient"], **bootstrapped
    ).items():
        for end in ("estimate", "low", "high"):
            table.loc[name, f"{column} {end}"] = getattr(interval, end)
    return table


def _is_classification(cases: pd.DataFrame) -> bool:
    return "truth" in cases


def _by_class(cases: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(name of the figure, value and patient of each case), mean of classes first."""
    for measure in (m for m in MEASURES if m in cases):
        means = cases.groupby("id").agg(value=(measure, "mean"), patient=("patient", "first"))
        yield f"{measure}, mean of classes", means
        for name, rows in cases.groupby("class", sort=False):
            yield f"{measure}, {name}", rows.set_index("id").rename(columns={measure: "value"})


def _classified(cases: pd.DataFrame) -> Callable[[np.ndarray], dict[str, float]]:
    """Scores of chosen rows; sensitivity of a class is NaN where no row is of it."""
    classes = [c.removeprefix(SCORE) for c in cases if c.startswith(SCORE)]
    truth = cases["truth"].map({name: k for k, name in enumerate(classes)}).to_numpy()
    scores = cases[[SCORE + c for c in classes]].to_numpy(float)
    right = (cases["predicted"] == cases["truth"]).to_numpy()

    def of(rows: np.ndarray) -> dict[str, float]:
        found = classification_scores(truth[rows], scores[rows])
        for k, name in enumerate(classes):
            of_class = right[rows][truth[rows] == k]
            found[f"sensitivity, {name}"] = float(of_class.mean()) if len(of_class) else np.nan
        return found

    return of
