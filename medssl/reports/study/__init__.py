"""The page of a study: how a score grows with labels, what every arm gains, and what it cost."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd

from medssl.config import flat
from medssl.evaluation.intervals import below_interval
from medssl.evaluation.titles import sentence, title
from medssl.reports import answers, efficiency, findings
from medssl.reports.html import Section
from medssl.reports.html import write as write_page
from medssl.reports.scores import with_interval
from medssl.reports.sections import cohort_section, pretraining_section, provenance_section
from medssl.reports.study.short import beginning, cautions, short
from medssl.reports.study.told import Told
from medssl.reports.style import as_png

__all__ = ["Told", "beginning", "cautions", "write"]
END = "at an end"


def write(folder: Path, told: Told) -> Path:
    """Compose folder/report.html, and its first figure apart as folder/curve.png."""
    study = told.study
    curve = as_png(efficiency.curves(study, title(told.main), told.idle))
    (folder / "curve.png").write_bytes(curve)
    of_labels = [efficiency.gains_section(study, told.main, told.idle)]
    if efficiency.several(study):
        of_labels += [
            efficiency.labels_saved(study, told.idle), efficiency.shrinking(study, told.idle)
        ]  # fmt: skip
    if told.unfound:
        of_labels = [replace(each, text=f"{_EARLY} {each.text}") for each in of_labels]
    sections = [
        short(told, curve),
        *of_labels,
        *findings.section(study, told.cards, told.whole, told.idle | set(told.unfound)),
        *([_subgroups(told)] if len(told.subgroups) else []),
        _other_figures(told),
        *_calibration(told),
        *([Section("Single cases", _OF_CASES, figures=told.pictures)] if told.pictures else []),
        cohort_section(told.cohort, told.card),
        *[pretraining_section(path, 0, arm) for arm, path in told.pretrained.items()],
        *([_settings(told)] if told.validations else []),
        _cost(told),
        provenance_section(told.card, told.commands, told.facts),
    ]
    arms = len(study.baselines)
    subtitle = (
        f"{arms} way{'s' if arms != 1 else ''} of pretraining against training from scratch; scored on "
        f"{study.n_cases} scans of {study.n_patients} patients"
    )
    footer = (
        f"Cohort {told.card['cohort']}, medssl {told.card['versions']['medssl']}, {date.today()}."
    )
    return write_page(folder / "report.html", "Did pretraining help?", subtitle, sections, footer)


_EARLY = (
    "Training has hardly begun (In short): these figures, with their intervals and p-values, speak of that "
    "beginning only."
)
_OF_CASES = (
    "The same test cases in every arm, as the first draw with fewest labels sees them: those with the "
    "smallest, the middle and the largest truth (of boxes, with fewest to most). No score chose them."
)


def _subgroups(told: Told) -> Section:
    table, out = told.subgroups, efficiency.unjudged(told.study, told.idle)
    table = table.assign(gain=table.apply(with_interval, axis=1) + efficiency.marks(table, out))
    table = table[["group", "value", "patients", "arm", "labelled", "gain"]]
    caption = efficiency.caption("Gains by group, with 95 % intervals.", out)
    return Section("Subgroups", "Gains of every group of test patients apart.",
                   tables=[(table, caption)])  # fmt: skip


def _other_figures(told: Told) -> Section:
    counts = sorted({count for _, count in told.study.runs})
    shown = list(dict.fromkeys([counts[0], counts[-1]]))
    text = "All numbers of labels are in figures.csv." if len(counts) > len(shown) else ""
    if any(name.startswith("nsd") for name in told.figures):
        text += (
            f" NSD is of outlines within {told.tolerance:g} mm of one another. HD95 of a class that is not "
            "found at all is the diagonal of the scan."
        )
    below = {
        name: row
        for name, study in told.figures.items()
        for row in study.curve().itertuples()
        if row.estimate < row.low
    }
    text = " ".join([text, *map(sentence, below_interval(below))])
    tables = [make(told, count) for make in (_scores, _gains) for count in shown]
    return Section("Every class, every figure", text, tables=tables)


def _scores(told: Told, count: int) -> tuple[pd.DataFrame, str]:
    """Every figure with so many labels, and the caption."""
    curves = {name: study.curve() for name, study in told.figures.items()}
    some = {cell for cell in told.idle if cell[1] == count}
    caption = efficiency.caption(f"Scores with {count} labelled scans, with 95 % intervals.", some)
    return _by_figure(curves, count, told.idle), caption


def _gains(told: Told, count: int) -> tuple[pd.DataFrame, str]:
    """The same of gains."""
    gains = {name: study.differences() for name, study in told.figures.items()}
    out = efficiency.unjudged(told.study, told.idle)
    caption = (
        f"Gains over training from scratch with {count} labelled scans, with 95 % intervals: above 0 "
        "pretraining is better, whatever the figure."
    )
    some = {cell for cell in out if cell[1] == count}
    return _by_figure(gains, count, out), efficiency.caption(caption, some)


def _by_figure(
    tables: dict[str, pd.DataFrame], count: int, marked: set[efficiency.Cell]
) -> pd.DataFrame:
    """A row a figure, a column an arm."""
    rows = []
    for name, table in tables.items():
        some = table[table["labelled"] == count]
        words = some.apply(with_interval, axis=1) + efficiency.marks(some, marked)
        rows.append({"figure": title(name), **dict(zip(some["arm"], words, strict=True))})
    return pd.DataFrame(rows)


def _calibration(told: Told) -> list[Section]:
    """Of answers with probabilities: a section, else none."""
    names = list(told.card["classes"].values())
    drawn = []
    if {"dice", "box"} & set(next(iter(told.cases.values()))):
        return []
    for arm, cases in told.cases.items():
        _, _, figures = answers.results(cases, names)
        drawn += [(f, f"{arm}: {words}", alt) for f, words, alt in figures if "eliability" in words]
    text = "With fewest labels, the first draw."
    return [Section("Calibration", text, figures=drawn)] if drawn else []


def _settings(told: Told) -> Section:
    figure = told.card.get("figure") or "score"
    rows = []
    for (arm, count), scores in told.validations.items():
        best = max(scores, key=scores.get)
        tried = told.trials[arm not in told.study.baselines]
        rows.append({"arm": arm, "labelled": count or "all", "chosen": best} |
                    {f"trial {k}": v for k, v in sorted(scores.items())} |
                    {END: _at_end(tried, best)})  # fmt: skip
    of_arms, of_scratch = (
        pd.DataFrame([{"trial": k, "settings": _keys(keys)} for k, keys in enumerate(trials)])
        for trials in told.trials
    )
    text = (
        f"Every arm tried as many settings. The {figure} on {_validated(told)} chose among them, for each "
        "number of labels; test scans had no part in it."
    )
    if any(row.get(END) for row in rows):
        text += (
            f" Of the keys under \N{LEFT DOUBLE QUOTATION MARK}{END}\N{RIGHT DOUBLE QUOTATION MARK} the "
            "smallest or the largest value tried was chosen: one beyond it may be better."
        )
    tables = [
        (pd.DataFrame(rows), f"The {figure} on validation scans, mean of the draws that chose."),
        (of_arms, "Trials of pretrained arms."),
    ]
    if told.trials[0] != told.trials[1]:
        tables.append((of_scratch, "Trials from scratch."))
    return Section("How settings were chosen", text, tables=tables)


def _validated(told: Told) -> str:
    n = told.card["counts"]["validation"]["scans"]
    return f"{n} validation scan{'s' * (n != 1)}, whose labels come on top of those of the curve,"


def _at_end(trials: list[dict], chosen: int) -> str:
    """Keys whose value, a number, is the smallest or the largest that was tried."""
    trials, found = [flat(keys) for keys in trials], []
    for key in trials[chosen]:
        tried = [_number(keys.get(key)) for keys in trials]
        if (
            None not in tried
            and min(tried) < max(tried)
            and tried[chosen] in (min(tried), max(tried))
        ):
            found.append(key)
    return ", ".join(found)


def _number(value: object) -> float | None:
    """Of a setting, also as YAML reads 4e-3, which is text to it."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _keys(keys: dict) -> str:
    return " ".join(f"{key}={value}" for key, value in flat(keys).items())


def _cost(told: Told) -> Section:
    text = "Minutes that networks were trained for, on this device"
    if told.cost["kWh"].isna().all():
        text += (
            ", which does not tell its energy, or not that of one training alone (of several at once, or of "
            "one that went on after a kill)"
        )
    table = told.cost.dropna(axis=1, how="all").astype(object)
    table = table.where(table.notna(), None)  # from scratch there is nothing to pretrain
    formats = {c: ".1f" for c in table if "minutes" in c}
    return Section(
        "Cost",
        f"{text}.",
        tables=[(table, "Cost of every arm; fine-tunings on trial count, too.")],
        formats=formats,
    )
