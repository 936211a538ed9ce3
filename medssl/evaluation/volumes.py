"""Sizes of what is true and of what was predicted, and how well they agree."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from medssl.evaluation.intervals import bootstrap

BOTH = ["volume_ml_truth", "volume_ml_prediction"]


def truth_sizes(cases: pd.DataFrame) -> pd.Series:
    """By id how much truth each case of masks (ml) or boxes (their number) holds."""
    if "box" in cases:
        return (cases["box"] == "truth").groupby(cases["id"]).sum()
    return cases.groupby("id")["volume_ml_truth"].sum()


def volumes(cases: pd.DataFrame, **bootstrapped) -> dict[str, dict]:
    """By class the mean volumes in ml of a segmentation's table of cases, the mean difference (predicted
    minus true) with its interval, and the limits of agreement; `bootstrapped` takes n and seed.

    A class is told of the cases in which it is true or was predicted.
    """
    found = {}
    for name, rows in measured(cases).items():
        truth, prediction = rows[BOTH].to_numpy(float).T
        difference = prediction - truth
        found[name] = {
            "truth": float(truth.mean()), "prediction": float(prediction.mean()),
            "difference": asdict(bootstrap(difference, rows["patient"].to_numpy(), **bootstrapped)),
            "limits": limits_of_agreement(difference),
        }  # fmt: skip
    return found


def measured(cases: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By class the rows in which it is true or was predicted."""
    there = cases[(cases[BOTH] > 0).any(axis=1)]
    return dict(list(there.groupby("class", sort=False)))


def limits_of_agreement(difference: np.ndarray) -> tuple[float, float]:
    """Between which 95 % of differences lie if they are spread normally; NaN of a single one.

    Bland and Altman, "Statistical methods for assessing agreement between two methods of clinical
    measurement", Lancet 1986.
    """
    if len(difference) < 2:
        return np.nan, np.nan
    mean, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    return mean - spread, mean + spread
