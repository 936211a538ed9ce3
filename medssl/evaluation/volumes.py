"""Sizes of what is true and of what was predicted."""

import pandas as pd


def truth_sizes(cases: pd.DataFrame) -> pd.Series:
    """By id how much truth each case of masks (ml) or boxes (their number) holds."""
    if "box" in cases:
        return (cases["box"] == "truth").groupby(cases["id"]).sum()
    return cases.groupby("id")["volume_ml_truth"].sum()
