"""Several runs on the same cases: every figure of each, its difference from one of them, and p-values."""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pandas as pd

from medssl.evaluation.headline import headline, higher_is_better
from medssl.evaluation.significance import holm, p_value
from medssl.evaluation.summary import in_order_of, resampled_differences, summary

LEVEL = 0.05
FEWEST, MOST = 2000, 20000  # resamples
CLEAR = 100  # of them for a comparison: the smallest corrected p-value is then 0.02
ENDS = ("estimate", "low", "high")
SAME, BETTER, WORSE = "undecided", "better", "worse"


def compare(
    tables: dict[str, pd.DataFrame], figure: str = "", *, n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """A row a figure and run, the first run being what the others are compared with.

    tables  tables of cases by run, all of the same cases (ValueError otherwise)
    figure  the one that the comparison is about; "": the headline of such tables

    Columns: figure, run, main (of that figure), estimate, low, high, n_patients, n_cases; and but for the
    first run difference, difference low, difference high, p, p corrected, comparisons, reading. The
    p-values of the main figure are corrected for the number of runs, as it was named before any was
    looked at; those of all others for their number.
    """
    base, *others = tables
    first = tables[base]
    same = {name: in_order_of(cases, first) for name, cases in tables.items()}
    main = figure or headline(first)[0]
    rows = [
        {"figure": name, "run": run, "main": name == main, **_told(asdict(interval))}
        for run, cases in same.items()
        for name, interval in summary(cases, n=n, seed=seed).items()
    ]
    found = pd.DataFrame(rows).set_index(["figure", "run"])
    for run in others:
        for name, (gain, samples) in resampled_differences(
            same[run], first, n=n, seed=seed
        ).items():
            at = (name, run)
            for end in ENDS:
                found.loc[at, "difference" + f" {end}" * (end != "estimate")] = getattr(gain, end)
            found.loc[at, "p"] = p_value(samples, gain.n_patients)
    for some in (found["main"], ~found["main"]):
        corrected = holm(found.loc[some, "p"])
        found.loc[some, "p corrected"] = corrected
        found.loc[some, "comparisons"] = int((~np.isnan(corrected)).sum())
    found.loc[found["p"].isna(), "comparisons"] = np.nan
    found["reading"] = [_reading(name, row) for (name, _), row in found.iterrows()]
    order = list(dict.fromkeys(name for name, _ in found.index))
    order.sort(key=lambda name: name != main)
    return found.loc[order].reset_index()


def _told(interval: dict) -> dict:
    return {key: interval[key] for key in (*ENDS, "n_patients", "n_cases", "n_left_out")}


def _reading(figure: str, row: pd.Series) -> str:
    """What a difference says, after correction."""
    if pd.isna(row["p corrected"]):
        return ""
    if row["p corrected"] >= LEVEL:
        return SAME
    return BETTER if (row["difference"] > 0) == higher_is_better(figure) else WORSE


def corrected_over(table: pd.DataFrame) -> dict[bool, int]:
    """Over how many comparisons the p-values of the main figure (True) and of all others (False) are
    corrected; without what has none."""
    known = table[table["comparisons"].notna()]
    return {bool(main): int(n) for main, n in known.groupby("main")["comparisons"].first().items()}


def least_p(n_resamples: int, n_patients: int) -> float:
    """The smallest p-value that so many resamples of so many patients can give."""
    return p_value(np.ones(n_resamples), n_patients)


def resamples_for(n_figures: int, n_runs: int) -> int:
    """How many resamples it takes for a clear difference to stay clear after correction, so many figures
    being compared in so many runs."""
    comparisons = max(0, n_figures - 1) * (n_runs - 1)
    return min(max(FEWEST, CLEAR * comparisons), MOST)


def cannot_show(table: pd.DataFrame, n_resamples: int) -> str:
    """What to say where not even a difference in every resample would be told from none; "" otherwise."""
    said = []
    for main, words in ((True, "the main figure"), (False, "the other figures")):
        some = table[(table["main"] == main) & table["p"].notna()]
        if some.empty:
            continue
        patients, m = int(some["n_patients"].min()), int(some["comparisons"].iloc[0])
        if least_p(n_resamples, patients) * m < LEVEL:
            continue
        said.append(
            f"With {n_resamples} resamples of {patients} patients none of {m} comparisons of {words} can "
            f"fall under {LEVEL}, however clear it is"
        )
    return ". ".join(said)


def differing(settings: dict[str, dict], left_out: Iterable[str] = ()) -> pd.DataFrame:
    """The settings in which runs differ, a row a key and a column a run; None where a run has no such key.

    settings  by run, flat
    """
    keys = dict.fromkeys(key for each in settings.values() for key in each)
    rows = [
        {"setting": key, **{run: each.get(key) for run, each in settings.items()}}
        for key in keys
        if key not in left_out and len({str(each.get(key)) for each in settings.values()}) > 1
    ]
    return pd.DataFrame(rows, columns=["setting", *settings], dtype=object)
