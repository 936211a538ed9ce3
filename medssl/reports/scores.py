"""How figures are written: units, intervals, and forest plots of them."""

import pandas as pd
from matplotlib.figure import Figure

from medssl.evaluation.titles import title
from medssl.reports import charts

# Of figures that are no shares.
UNITS = {
    "hd95_mm": "mm", "error in steps": "steps", "mean_absolute_error": "unit of the target",
    "error of the training mean": "unit of the target", "root_mean_square": "unit of the target",
    "gain over the training mean": "unit of the target",
}  # fmt: skip


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


def signed(difference: float) -> str:
    """A difference with its sign."""
    return f"{difference:+z.3f}".replace("-", "\N{MINUS SIGN}")


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
