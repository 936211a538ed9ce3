"""How figures are called and written: names, units, intervals, and forest plots of them."""

import pandas as pd
from matplotlib.figure import Figure

from medssl.reports import charts

MEASURES = {
    "nsd": "NSD", "hd95_mm": "HD95 in mm", "lesion_sensitivity": "Sensitivity to lesions",
    "lesion_f1": "F1 of lesions", "brier": "Brier score",
    "auroc": "AUROC", "auprc": "AUPRC",
    "balanced_accuracy": "Balanced accuracy", "map": "mAP at IoU 0.5 to 0.95",
    "froc_mean": "Mean sensitivity at 1/8 to 8 false a scan",
}  # fmt: skip
# Of figures that are no shares.
UNITS = {
    "hd95_mm": "mm", "error in steps": "steps", "mean_absolute_error": "unit of the target",
    "error of the training mean": "unit of the target", "root_mean_square": "unit of the target",
    "gain over the training mean": "unit of the target",
}  # fmt: skip


def title(name: str) -> str:
    """dice, liver -> Dice, liver; nsd -> NSD."""
    measure, comma, of = name.partition(", ")
    words = measure.replace("_", " ")
    words = words.replace("ap at", "AP at") if words.startswith("ap at") else words.capitalize()
    return MEASURES.get(measure, words) + comma + of


def between(value: dict) -> str:
    """The ends of an interval."""
    if pd.isna(value["low"]):
        return "not defined"
    return f"{value['low']:z.3f} to {value['high']:z.3f}".replace("-", "\N{MINUS SIGN}")


def with_interval(value: dict) -> str:
    """An estimate and the ends of its interval."""
    if pd.isna(value["estimate"]):
        return "not defined"
    return f"{value['estimate']:z.3f} ({between(value)})".replace("-", "\N{MINUS SIGN}")


def probability(p: float) -> str:
    """A p-value, of which what lies under a thousandth is not told."""
    if pd.isna(p):
        return "\N{EN DASH}"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def forests(found: dict, reference: float | None = None, label: str = "") -> list[Figure]:
    """A forest plot for the figures of each unit: millimetres and shares have no common axis."""
    units: dict[str, dict] = {}
    for name, value in found.items():
        units.setdefault(UNITS.get(name.partition(", ")[0], ""), {})[name] = value
    return [
        charts.dots_with_intervals(_rows(some), reference, ", ".join(filter(None, [label, unit])))
        for unit, some in units.items()
    ]


def _rows(found: dict) -> list[dict]:
    """For a forest plot: the classes of a measure stand together under its name."""
    rows = []
    for name, value in found.items():
        measure, _, of = title(name).partition(", ")
        row = {"name": of or measure, "group": measure if of else "", "main": "mean" in of}
        rows.append({**row, **{x: value[x] for x in ("estimate", "low", "high")}})
    return rows
