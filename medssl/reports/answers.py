"""Tables and figures of what was said of whole scans (classes, labels, grades, numbers), and of boxes."""

import numpy as np
import pandas as pd

from medssl.evaluation.classification import undefined
from medssl.evaluation.detection import Detections
from medssl.evaluation.summary import boxes_of
from medssl.reports import curves as draw

MOST_CURVES = 6  # lines that can be told apart in one panel
MOST_CLASSES = 4  # panels in which those of several runs are laid over each other


def results(cases: pd.DataFrame, names: list[str]) -> tuple[str, list, list]:
    """Words, tables and figures as a section takes them, for a table of cases with a row a case."""
    if "box" in cases:
        return _of_boxes(cases, names)
    if "usual" in cases:
        drawn = draw.truth_and_prediction(cases["truth"], cases["predicted"], names[0])
        words = "What was predicted over what is true; the dashed line is a perfect prediction."
        return "", [], [(drawn, words, "scatter plot of predictions")]
    if "truth" not in cases:
        return "", [], _curves(ranked(cases, names))
    reason = undefined(cases["truth"])
    counts = pd.crosstab(cases["truth"], cases["predicted"]).reindex(
        index=names, columns=names, fill_value=0
    )
    counts = counts.rename(columns=lambda name: f"predicted {name}").reset_index()
    tables = [(counts, "Cases by their class (rows) and the class predicted (columns).")]
    if reason:
        return f"{reason}.", tables, []
    return "", tables, _curves(ranked(cases, names))


def ranked(cases: pd.DataFrame, names: list[str]) -> draw.Curves:
    """Truth and score of each label, or of each class against the rest (of two, of the second), that has
    both kinds of cases."""
    if "truth" in cases:
        asked = names[1:] if len(names) == 2 else names
        pairs = {
            n: ((cases["truth"] == n).to_numpy(), cases[f"score_{n}"].to_numpy()) for n in asked
        }
    else:
        known = {name: cases[cases[f"truth_{name}"].notna()] for name in names}
        pairs = {
            name: (some[f"truth_{name}"].to_numpy() > 0.5, some[f"score_{name}"].to_numpy())
            for name, some in known.items()
        }
    return {name: pair for name, pair in pairs.items() if 0 < pair[0].sum() < len(pair[0])}


def overlaid(tables: dict[str, pd.DataFrame], names: list[str]) -> list:
    """ROC curves of each class or label, or FROC curves of each class of boxes, those of several runs laid
    over each other; of the most frequent classes. Nothing for masks and numbers."""
    first = next(iter(tables.values()))
    if "dice" in first or "usual" in first:
        return []
    runs: dict[str, dict] = {}
    for run, cases in tables.items():
        curves = _found(cases) if "box" in cases else ranked(cases, names)
        for name, curve in curves.items():
            runs.setdefault(name, {})[run] = curve
    if "box" in first:
        often = first[first["box"] == "truth"]["class"].value_counts()
        words = (
            "Free-response ROC of {}: how many are found, and how many false boxes come with them."
        )
        drawn = [(name, draw.froc(each), words, "FROC curves") for name, each in runs.items()]
    else:
        often = pd.Series({n: next(iter(each.values()))[0].sum() for n, each in runs.items()})
        words = "Receiver operating characteristic of {}."
        drawn = [(name, draw.roc(each), words, "ROC curves") for name, each in runs.items()]
    drawn.sort(key=lambda each: -often[each[0]])
    return [(figure, words.format(n), alt) for n, figure, words, alt in drawn[:MOST_CLASSES]]


def _found(cases: pd.DataFrame) -> draw.Curves:
    """False boxes a scan and sensitivity of each class."""
    found, true, classes = boxes_of(cases)
    least = float(cases["iou"].iloc[0])
    of_class = {name: Detections(found, true, k, least) for k, name in classes.items()}
    return {name: d.curve() for name, d in of_class.items() if d.true.sum() and len(d.scores)}


def _of_boxes(cases: pd.DataFrame, names: list[str]) -> tuple[str, list, list]:
    found, true, classes = boxes_of(cases)
    least = float(cases["iou"].iloc[0])
    number = {name: k for k, name in classes.items()}
    there = [name for name in names if name in number]
    there += [name for name in number if name not in names]
    of_class = {name: Detections(found, true, number[name], least) for name in there}
    shown = {name: d for name, d in of_class.items() if d.true.sum() and len(d.scores)}
    shown = _frequent(shown, {name: d.true.sum() for name, d in shown.items()})
    words = (
        f"A box counts as found where it overlaps a true one of its class by an IoU of at least {least:g}; "
        "each true box is found once, what else is found is false."
    )
    if ignored := int((cases["box"] == "ignored").sum()):
        words += (
            f" What is found on one of the {ignored} regions that are to be ignored is neither right nor "
            "false, and not counted."
        )
    counts = pd.DataFrame([
        {"class": name, "true boxes": int(d.true.sum()), "scans with one": int((d.true > 0).sum()),
         "told at any score": len(d.scores), "of them right": int(d.hit.sum())}
        for name, d in of_class.items()
    ])  # fmt: skip
    tables = [(counts, "Boxes by class.")]
    if not shown:
        return words, tables, []
    of = f"for {', '.join(shown)}" + (" (the most frequent)" if len(shown) < len(of_class) else "")
    return words, tables, [
        (draw.froc({name: d.curve() for name, d in shown.items()}),
         f"Free-response ROC {of}: how many are found, and how many false boxes come with them.",
         "FROC curve"),
        (draw.precision_of_boxes({name: d.precision_and_recall() for name, d in shown.items()}),
         f"Precision and recall of boxes {of}.", "precision-recall curve of boxes"),
    ]  # fmt: skip


def _frequent(curves: dict, counts: dict[str, int]) -> dict:
    """The MOST_CURVES with most cases, in the order in which all came."""
    kept = sorted(curves, key=lambda name: -counts[name])[:MOST_CURVES]
    return {name: curve for name, curve in curves.items() if name in kept}


def _curves(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> list:
    """ROC, precision and recall, and reliability of each class or label."""
    if not curves:
        return []
    shown = _frequent(curves, {name: truth.sum() for name, (truth, _) in curves.items()})
    of = f"for {', '.join(shown)}" + (" (the most frequent)" if len(curves) > len(shown) else "")
    return [
        (draw.roc(shown), f"Receiver operating characteristic {of}.", "ROC curve"),
        (draw.precision_recall(shown), f"Precision and recall {of}; dotted: the share of cases.",
         "precision-recall curve"),
        (draw.reliability(shown), f"Reliability {of}: what happens when so much is said, with "
         "Wilson's 95 % intervals. On the line, probabilities mean what they say.",
         "reliability curve"),
    ]  # fmt: skip
