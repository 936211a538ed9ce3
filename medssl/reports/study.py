"""The page of a study: how a score grows with labels, what every arm gains, and what it cost."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medssl.config import flat
from medssl.evaluation.efficiency import Cell, Efficiency
from medssl.evaluation.intervals import too_few
from medssl.evaluation.titles import title
from medssl.reports import answers, chain, efficiency, findings
from medssl.reports.html import Section
from medssl.reports.html import write as write_page
from medssl.reports.scores import signed, with_interval
from medssl.reports.style import as_png

UNFOUND = 0.05  # Dice of a class under which it is as good as not found
END = "at an end"
ALIKE = 1.1  # times the minutes of another pretraining, up to which they are told to be alike
ENOUGH = 3  # draws, under which it is said that they are few


@dataclass(frozen=True)
class Told:
    """What a study found.

    figures      of every figure of the task; `main` is the one that the study is about
    subgroups    rows of `differences`, with group and value before them
    validations  by arm and number of labels what validation scans said of every trial
    trials       the settings tried: of arms that were pretrained, and from scratch
    cases        by arm the test cases with fewest labels, of the first draw
    pretrained   by arm the folder of its pretraining
    cards        by arm the card of what was pretrained there
    whole        the most labels are all that there are
    some         fewer than all of them were taken too
    draws        of these
    pictures     (PNG, caption, alternative text) of single cases
    cautions     what a reader must not miss
    idle         cells of which a run has learnt next to nothing
    card         of one fine-tuning
    """

    figures: dict[str, Efficiency]
    main: str
    cost: pd.DataFrame
    subgroups: pd.DataFrame
    validations: dict[tuple[str, int], dict[int, float]]
    trials: tuple[list[dict], list[dict]]
    cases: dict[str, pd.DataFrame]
    pretrained: dict[str, Path]
    cards: dict[str, dict]
    whole: bool
    some: bool
    draws: int
    pictures: list[tuple[bytes, str, str]]
    cautions: list[str]
    idle: set[Cell]
    cohort: pd.DataFrame
    card: dict
    commands: list[str]
    facts: dict[str, object]

    @property
    def study(self) -> Efficiency:
        return self.figures[self.main]

    @property
    def gains(self) -> pd.DataFrame:
        """What arms gain in the main figure, and whether they are judged by it."""
        return efficiency.judged(self.study, self.idle)


def write(folder: Path, told: Told) -> Path:
    """Compose folder/report.html, and its first figure apart as folder/curve.png."""
    study = told.study
    curve = as_png(efficiency.curves(study, title(told.main), told.idle))
    (folder / "curve.png").write_bytes(curve)
    sections = [
        _short(told, curve),
        efficiency.gains_section(study, told.main, told.idle),
        *(
            [efficiency.labels_saved(study, told.idle), efficiency.shrinking(study, told.idle)]
            if efficiency.several(study)
            else []
        ),
        *findings.section(study, told.cards, told.whole),
        *([_subgroups(told)] if len(told.subgroups) else []),
        _other_figures(told),
        *([_calibration(told)] if "truth" in next(iter(told.cases.values())) else []),
        *([Section("Single cases", _OF_CASES, figures=told.pictures)] if told.pictures else []),
        chain.cohort_section(told.cohort, told.card),
        *[chain.pretraining_section(path, 0, arm) for arm, path in told.pretrained.items()],
        *([_settings(told)] if told.validations else []),
        _cost(told),
        chain.provenance_section(told.card, told.commands, told.facts),
    ]
    arms = len(study.baselines)
    subtitle = (
        f"{arms} way{'s' if arms != 1 else ''} of pretraining against training from scratch; scored on "
        f"{study.n_cases} scans of {study.n_patients} patients that no run has seen"
    )
    footer = f"Cohort {told.card['cohort']}, medssl {told.card['versions']['medssl']}."
    return write_page(folder / "report.html", "Did pretraining help?", subtitle, sections, footer)


_OF_CASES = (
    "The same test cases in every arm, as the first draw with fewest labels sees them: those with the "
    "smallest, the middle and the largest truth (of boxes, with fewest to most). No score chose them."
)


def _short(told: Told, curve: bytes) -> Section:
    study, said = told.study, efficiency.verdicts(told.study, told.idle)
    runs = max(len(r) for r in study.runs.values())
    text = " ".join(said)
    if _unfound(told):
        text += " Of some classes next to nothing is found yet: all this rests on the others."
    if study.better < 0:
        text += " Less is better of this figure: what is gained is what it falls by."
    fewest = min(len(r) for r in study.runs.values())
    but = f" (with all of them: {fewest})" if fewest < runs else ""
    steps = told.card["config"]["fit"]["steps"]
    point, apart = "one fine-tuning", _apart(told)
    if runs > 1:
        on = "different" if told.draws > 1 else "the same"
        point = f"the mean of {runs} fine-tunings on {on} labelled scans{but}"
    if told.some and told.draws < ENOUGH:
        apart = (
            "Other labelled scans may give others: draws=3 and more tell how far they lie apart."
        )
    text += _effort(told.cost) + (
        f"\n\nEvery point is {point}; scans are the same in every arm, as are the {steps} steps. Intervals "
        "are 95 % percentile bootstrap intervals over patients, paired between arms; they speak of other "
        f"patients. {apart}"
    )
    facts = {"figure": title(told.main), "test patients": study.n_patients,
             "fine-tunings scored": sum(len(r) for r in study.runs.values())}  # fmt: skip
    words = f"{title(told.main)} over the number of labelled scans, and the gain over {efficiency.SCRATCH}."
    words += " Hollow: next to nothing was learnt." if told.idle else ""
    return Section(
        "In short", text, "\n\n".join(cautions(told)), facts, [efficiency.scores(study, told.idle)],
        figures=[(curve, words, "label-efficiency curves")],
    )  # fmt: skip


def _apart(told: Told) -> str:
    """How far single fine-tunings lie apart, of those by which an arm is judged."""
    gains = told.gains[told.gains["judged"]].dropna()
    if gains.empty:
        return ""
    low, high = signed(gains["lowest run"].min()), signed(gains["highest run"].max())
    return f"Single fine-tunings differ from theirs from scratch by {low} to {high}."


def _effort(cost: pd.DataFrame) -> str:
    """How far apart the arms lie in what their pretraining took."""
    spent = cost.dropna(subset=["pretraining, minutes"]).set_index("arm")["pretraining, minutes"]
    if spent.empty or spent.max() < spent.min() * ALIKE:
        return ""
    least, most = spent.idxmin(), spent.idxmax()
    return f" Pretraining took from {spent[least]:.1f} ({least}) to {spent[most]:.1f} minutes ({most})."


def cautions(told: Told) -> list[str]:
    """What a reader must not miss, and what the curves themselves give away."""
    short = [
        f"Training {arm} reaches less with most labels than with fewest: so few steps do not use them, and "
        "labels saved, shares and losses say little. Give finetune.fit.steps more."
        for arm in told.study.falling()
    ]
    return [
        *told.cautions,
        *_unfound(told),
        *short,
        *filter(None, [too_few(told.study.n_patients)]),
    ]


def _unfound(told: Told) -> list[str]:
    """Of which classes runs find next to nothing, though of others they do."""
    cells: dict[str, list[str]] = {}
    for name, study in told.figures.items():
        measure, _, of = name.partition(", ")
        if measure == "dice" and of != "mean of classes":
            for (arm, count), dice in study.estimates.items():
                if dice < UNFOUND and (arm, count) not in told.idle:
                    cells.setdefault(f"{arm} with {count} labels", []).append(of)
    if not cells:
        return []
    found = "; ".join(f"{cell}: {', '.join(classes)}" for cell, classes in cells.items())
    return [
        f"Next to nothing is found of some classes ({found}): gains and losses rest on how far training has "
        "come. Give finetune.fit.steps more."
    ]


def _subgroups(told: Told) -> Section:
    table, out = told.subgroups, efficiency.unjudged(told.study, told.idle)
    table = table.assign(gain=table.apply(with_interval, axis=1) + efficiency.marks(table, out))
    table = table[["group", "value", "patients", "arm", "labelled", "gain"]]
    caption = efficiency.caption("Gains by group, with 95 % intervals.", out)
    return Section("Subgroups", "Gains of every group of test patients apart.",
                   tables=[(table, caption)])  # fmt: skip


def _other_figures(told: Told) -> Section:
    rows = []
    for name, study in told.figures.items():
        if name == told.main:
            continue
        few = min(count for _, count in study.runs)
        curve = study.curve()
        curve = curve[curve["labelled"] == few]
        scores = curve.apply(with_interval, axis=1) + efficiency.marks(curve, told.idle)
        rows.append({"figure": title(name), **dict(zip(curve["arm"], scores, strict=True))})
    few = min(count for _, count in told.study.runs)
    some = {cell for cell in told.idle if cell[1] == few}
    caption = efficiency.caption(f"Scores with {few} labelled scans, with 95 % intervals.", some)
    return Section(
        "Every class, every figure", "All numbers of labels are in figures.csv.",
        tables=[(pd.DataFrame(rows), caption)],
    )  # fmt: skip


def _calibration(told: Told) -> Section:
    names = list(told.card["classes"].values())
    drawn = []
    for arm, cases in told.cases.items():
        _, _, figures = answers.results(cases, names)
        drawn += [(f, f"{arm}: {words}", alt) for f, words, alt in figures if "eliability" in words]
    return Section("Calibration", "With fewest labels, the first draw.", figures=drawn)


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
        f"Every arm tried as many settings. The {figure} on validation scans chose among them, for each "
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
        text += ", which does not tell its energy"
    table = told.cost.dropna(axis=1, how="all").astype(object)
    table = table.where(table.notna(), None)  # from scratch there is nothing to pretrain
    formats = {c: ".1f" for c in table if "minutes" in c}
    return Section("Cost", f"{text}.", tables=[(table, "Cost of every arm.")], formats=formats)
