"""Which figure of a table of cases comes first, and whether higher or lower is better."""

from collections.abc import Iterable

import pandas as pd

from medssl.evaluation.summary import MEASURES

HIGHER, LOWER = True, False
# By the name of a figure, without the class it is of.
BETTER = {
    **dict.fromkeys(MEASURES, HIGHER), "hd95_mm": LOWER,
    "auroc": HIGHER, "auprc": HIGHER, "accuracy": HIGHER, "balanced_accuracy": HIGHER,
    "sensitivity": HIGHER, "sensitivity at 90 % specificity": HIGHER,
    "brier": LOWER, "calibration_error": LOWER, "calibration_error before temperature": LOWER,
    "error in steps": LOWER, "quadratic_kappa": HIGHER,
    "mean_absolute_error": LOWER, "error of the training mean": LOWER,
    "gain over the training mean": HIGHER, "root_mean_square": LOWER, "correlation": HIGHER,
    "map": HIGHER, "froc_mean": HIGHER,
}  # fmt: skip
# Of boxes, which carry a number: "ap at IoU 0.5", "sensitivity at 0.125 false a scan".
AT = ("ap at IoU ", "sensitivity at ")
# Grades have figures of classes, too.
FIRST = ("dice, mean of classes", "quadratic_kappa", "mean_absolute_error", "auroc", AT[0])


def headline(cases: pd.DataFrame) -> tuple[str, bool]:
    """The figure of `summary(cases)` that stands for all, and whether higher is better.

    It is the one that validation scans choose weights by, on the held-out cases: mean Dice, AUROC (of
    classes, or the mean of labels), kappa of grades, mean absolute error of numbers, AP of boxes.
    """
    if "box" in cases:
        name = f"ap at IoU {float(cases['iou'].iloc[0]):g}"
    elif "usual" in cases:
        name = "mean_absolute_error"
    elif "truth_step" in cases:
        name = "quadratic_kappa"
    elif "dice" in cases:
        name = "dice, mean of classes"
    else:
        name = "auroc"
    return name, higher_is_better(name)


def headline_among(figures: Iterable[str]) -> tuple[str, bool] | None:
    """The same, by the names of a table's figures; None where it is none of those."""
    for first in FIRST:
        for name in figures:
            if name == first or (first.endswith(" ") and name.startswith(first)):
                return name, higher_is_better(name)
    return None


def higher_is_better(figure: str) -> bool:
    """Whether a figure of `summary` is better when it is higher. Raises KeyError for one it has not."""
    measure = figure.partition(", ")[0]
    return HIGHER if measure not in BETTER and measure.startswith(AT) else BETTER[measure]
