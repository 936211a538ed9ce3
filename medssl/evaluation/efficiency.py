"""How a score grows with the number of labels, and what an arm gains over its baseline.

Patients are resampled with all that every run says of them, the same patients for all arms and counts, so
that every difference is paired. Runs (draws of labels, seeds) are averaged, not resampled: there are too
few. The interval speaks of other patients; of other draws speak the lowest and the highest run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medssl.evaluation.intervals import ends, resampled
from medssl.evaluation.significance import holm, p_value
from medssl.evaluation.subgroups import in_order
from medssl.evaluation.summary import every_figure, scored

Cell = tuple[str, int]  # arm, number of labelled scans


@dataclass(frozen=True)
class Efficiency:
    """Scores of arms at rising numbers of labels.

    better     1 where a higher score is better, -1 where a lower one is
    baselines  the arm that each arm is compared with; a baseline has none
    runs       the score of every single run
    estimates  mean of a cell's runs
    samples    the same in every resample of the patients
    """

    figure: str
    better: int
    baselines: dict[str, str]
    runs: dict[Cell, list[float]]
    estimates: dict[Cell, float]
    samples: dict[Cell, np.ndarray]
    n_patients: int
    n_cases: int
    n_scored: int  # patients of whom the figure says something, in some run at least

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(arm for arm, _ in self.runs))

    def counts(self, arm: str) -> list[int]:
        return sorted(count for of, count in self.runs if of == arm)

    def curve(self) -> pd.DataFrame:
        """A row an arm and count: the score, its interval, its lowest and highest run."""
        return pd.DataFrame(
            {
                "arm": arm, "labelled": count, **self._interval(self.estimates[cell], self.samples[cell]),
                "lowest run": min(runs), "highest run": max(runs), "runs": len(runs),
            }
            for cell, runs in self.runs.items() for arm, count in [cell]
        )  # fmt: skip

    def differences(self) -> pd.DataFrame:
        """A row an arm that has a baseline, and count: what it gains (more is better, whatever the
        figure), p, and p corrected for the number of rows after Holm."""
        rows = []
        for arm, count, base in self._compared():
            gain, samples = (
                self.better * (v[arm, count] - v[base, count])
                for v in (self.estimates, self.samples)
            )
            pairs = zip(self.runs[arm, count], self.runs[base, count], strict=True)
            each = [self.better * (a - b) for a, b in pairs]
            rows.append({
                "arm": arm, "labelled": count, **self._interval(gain, samples),
                "p": p_value(samples, self.n_scored),
                "lowest run": min(each), "highest run": max(each), "runs": len(each),
            })  # fmt: skip
        table = pd.DataFrame(rows)
        return table.assign(**{"p, corrected": holm(table["p"])}) if rows else table

    def needed(self) -> pd.DataFrame:
        """A row an arm and count: how many labels its baseline needs for the same score.

        Read off the baseline's curve, straight over the logarithm of the labels and never falling. Beyond
        its last count it is infinite; under its first it is told as the first.
        """
        rows = []
        for arm, count, base in self._compared():
            counts = self.counts(base)
            curves = [np.column_stack([v[base, n] for n in counts]) for v in
                      (self._once(self.estimates), self.samples)]  # fmt: skip
            scores = self.estimates[arm, count], self.samples[arm, count]
            estimate, samples = (
                _labels(counts, self.better * curve, self.better * np.atleast_1d(score))
                for curve, score in zip(curves, scores, strict=True)
            )
            low, high = ends(samples, method="closest_observation")
            told = {"estimate": float(estimate[0]), "low": low, "high": high}
            rows.append({"arm": arm, "labelled": count, **told})
        return pd.DataFrame(rows)

    def shares(self) -> pd.DataFrame:
        """A row an arm and count: its score as a share of what the baseline reaches with most labels."""
        rows = []
        for cell in self.estimates:
            base = self.baselines.get(cell[0], cell[0])
            full = base, self.counts(base)[-1]
            told = self.told(lambda v, cell=cell, full=full: share(v[cell], v[full]))
            rows.append({"arm": cell[0], "labelled": cell[1], **told})
        return pd.DataFrame(rows)

    def losses(self) -> pd.DataFrame:
        """A row an arm: what it loses between its most and its fewest labels."""
        rows = []
        for arm in self.arms:
            few, most = (arm, self.counts(arm)[0]), (arm, self.counts(arm)[-1])
            told = self.told(lambda v, few=few, most=most: self.better * (v[most] - v[few]))
            rows.append({"arm": arm, "from": most[1], "to": few[1], **told})
        return pd.DataFrame(rows)

    def falling(self) -> list[str]:
        """Baselines that reach less with their most labels than with their fewest: what they were trained
        for was too short to use labels, and nothing can be read off their curves."""
        losses = self.losses().set_index("arm")["high"]
        return [arm for arm in dict.fromkeys(self.baselines.values()) if losses[arm] < 0]

    def told(self, make: Callable[[dict[Cell, Any]], Any]) -> dict[str, float]:
        """What `make` computes of the scores by cell, with its interval; all cells are paired."""
        return self._interval(make(self.estimates), make(self.samples))

    def _compared(self) -> list[tuple[str, int, str]]:
        return [
            (arm, count, base)
            for arm, base in self.baselines.items()
            for count in self.counts(arm)
            if (base, count) in self.runs
        ]

    @staticmethod
    def _interval(estimate: float, samples: np.ndarray) -> dict[str, float]:
        low, high = ends(samples)
        return {"estimate": estimate, "low": low, "high": high}

    @staticmethod
    def _once(estimates: dict[Cell, float]) -> dict[Cell, np.ndarray]:
        return {cell: np.array([value]) for cell, value in estimates.items()}


def efficiency(
    tables: dict[Cell, list[pd.DataFrame]], baselines: dict[str, str], better: dict[str, int],
    *, n: int = 2000, seed: int = 0,
) -> dict[str, Efficiency]:  # fmt: skip
    """Of each figure that `better` names (1: higher is better, -1: lower), from tables of cases (see
    `summary`), a list of runs a cell, all of the same test cases.

    Runs of a cell come in the same order in every arm: the i-th ones are pairs. Raises ValueError where
    tables hold different cases.
    """
    first = next(iter(tables.values()))[0]
    ids = sorted(first["id"].unique())
    if any(sorted(t["id"].unique()) != ids for runs in tables.values() for t in runs):
        raise ValueError("the tables hold different cases")
    patients = first.drop_duplicates("id").set_index("id")["patient"][ids].to_numpy()
    scorers = {
        cell: [every_figure(t.sort_values("id", kind="stable")) for t in runs]
        for cell, runs in tables.items()
    }

    def means(weights: np.ndarray) -> dict[tuple[Cell, str], np.ndarray]:
        found = {}
        for cell, runs in scorers.items():
            scores = [score(weights) for score in runs]
            # Of a few patients a figure may not be there: none of them has that class.
            none = np.full(len(weights), np.nan)
            found |= {(cell, f): np.mean([s.get(f, none) for s in scores], axis=0) for f in better}
        return found

    estimates, samples = resampled(means, patients, n=n, seed=seed)
    told_of = [scored(t) for runs in tables.values() for t in runs]
    once = np.ones((1, len(ids)))
    runs = {cell: [score(once) for score in of] for cell, of in scorers.items()}
    return {
        f: Efficiency(
            f, sign, baselines,
            runs={cell: [float(scores.get(f, [np.nan])[0]) for scores in of] for cell, of in runs.items()},
            estimates={cell: estimates[cell, f] for cell in tables},
            samples={cell: samples[cell, f] for cell in tables},
            n_patients=len(np.unique(patients)), n_cases=len(ids),
            n_scored=len(set().union(*(each.get(f, set(patients)) for each in told_of))),
        )
        for f, sign in better.items()
    }  # fmt: skip


def gains_by_group(
    tables: dict[Cell, list[pd.DataFrame]], baselines: dict[str, str], better: dict[str, int],
    groups: dict[str, pd.Series], **bootstrapped,
) -> pd.DataFrame:  # fmt: skip
    """`differences` of the cases of every group apart; `groups` are series by id, by their names."""
    found = []
    for name, of in groups.items():
        for value in in_order(of[next(iter(tables.values()))[0]["id"].unique()]):
            some = {
                cell: [t[t["id"].map(of) == value] for t in runs] for cell, runs in tables.items()
            }
            for study in efficiency(some, baselines, better, **bootstrapped).values():
                gains = study.differences().drop(columns=["p", "p, corrected"])
                about = {"group": name, "value": value, "patients": study.n_patients}
                found += [{**about, **row} for row in gains.to_dict("records")]
    return pd.DataFrame(found)


def share(part: float | np.ndarray, whole: float | np.ndarray) -> float | np.ndarray:
    """One score as a share of another; NaN of a whole that is 0."""
    shares = np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0
    )
    return shares if shares.ndim else float(shares)


def _labels(counts: list[int], curve: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Labels (R,) at which curves (R, counts) reach scores (R,); a higher score is better. NaN where either
    is."""
    rising = np.maximum.accumulate(curve, axis=1)
    places = np.log2(counts)
    found = []
    for row, score in zip(rising, scores, strict=True):
        if np.isnan(score) or np.isnan(row).any():
            found.append(np.nan)
            continue
        if score > row[-1]:
            found.append(np.inf)
            continue
        k = int(np.searchsorted(row, score))  # the first that reaches it
        if k == 0 or not row[k] > row[k - 1]:
            found.append(float(counts[k]))
        else:
            share = (score - row[k - 1]) / (row[k] - row[k - 1])
            found.append(2.0 ** (places[k - 1] + share * (places[k] - places[k - 1])))
    return np.array(found)
