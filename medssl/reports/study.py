"""The page of a study: how a score grows with labels, what every arm gains, and what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from medssl.evaluation.efficiency import Cell, Efficiency
from medssl.evaluation.intervals import too_few
from medssl.evaluation.titles import title
from medssl.reports import answers, chain, charts, findings
from medssl.reports.html import Section
from medssl.reports.html import write as write_page
from medssl.reports.scores import between, probability, with_interval
from medssl.reports.style import LINES, SOFT, as_png, styled

GAINS = [
    "arm", "labelled", "gain", "95 % interval", "p", "p, corrected", "lowest run", "highest run"
]  # fmt: skip


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


def write(folder: Path, told: Told) -> Path:
    """Compose folder/report.html, and its first figure apart as folder/curve.png."""
    study = told.study
    curve = as_png(efficiency_curves(study, title(told.main)))
    (folder / "curve.png").write_bytes(curve)
    sections = [
        _short(told, curve),
        _gains(told),
        *([_labels_saved(study), _shrinking(study)] if _several(study) else []),
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


@styled
def efficiency_curves(study: Efficiency, label: str) -> Figure:
    """Scores over the number of labels with their intervals, and beside them what every arm gains."""
    curve, gains = study.curve(), study.differences()
    figure = Figure(figsize=(7.6, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = sorted(curve["labelled"].unique())
    scratch = [a for a in study.arms if a not in study.baselines]
    colours = dict(zip(study.baselines, LINES, strict=False))
    right.axhline(0, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    for axis, table in ((left, curve), (right, gains)):
        arms = list(dict.fromkeys(table["arm"]))
        for i, arm in enumerate(arms):
            rows = table[table["arm"] == arm].sort_values("labelled")
            # Side by side, so that intervals at the same number of labels can be told apart.
            x = rows["labelled"] * 2.0 ** (0.09 * (i - (len(arms) - 1) / 2))
            plain = arm in scratch
            colour, line = (SOFT, (0, (4, 3))) if plain else (colours[arm], "solid")
            axis.vlines(x, rows["low"], rows["high"], color=colour, linewidth=1.3, alpha=0.55)
            axis.plot(x, rows["estimate"], color=colour, linestyle=line, marker="o", markersize=4,
                      label=arm)  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)  # a single one stands in the middle
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.set_xlabel("labelled scans")
    left.set_ylabel(label)
    right.set_ylabel(f"gain over {SCRATCH if len(scratch) == 1 else 'its network from scratch'}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


SCRATCH = "training from scratch"


def _short(told: Told, curve: bytes) -> Section:
    study, said = told.study, verdicts(told)
    runs = max(len(r) for r in study.runs.values())
    text = " ".join(said)
    fewest = min(len(r) for r in study.runs.values())
    but = f" (with all of them: {fewest})" if fewest < runs else ""
    point, apart = "one fine-tuning", "How far single draws lie apart is in the tables."
    if runs > 1:
        point = f"the mean of {runs} fine-tunings on different labelled scans{but}"
    if runs < ENOUGH:
        apart = (
            "Other labelled scans may give others: draws=3 and more tell how far they lie apart."
        )
    text += (
        f"\n\nEvery point is {point}; scans are the same in every arm, as is the number of steps. Intervals "
        "are 95 % percentile bootstrap intervals over patients, paired between arms; they speak of other "
        f"patients. {apart}"
    )
    facts = {"figure": title(told.main), "test patients": study.n_patients,
             "fine-tunings scored": sum(len(r) for r in study.runs.values())}  # fmt: skip
    words = f"{title(told.main)} over the number of labelled scans, and the gain over {SCRATCH}."
    table = _wide(study.curve(), with_interval)
    caption = "Scores with 95 % intervals, by number of labelled scans."
    short = [
        f"Training {arm} reaches less with most labels than with fewest: so few steps do not use them, and "
        "labels saved, shares and losses below say little. Give finetune.fit.steps more."
        for arm in study.falling()
    ]
    cautions = " ".join(filter(None, [*told.cautions, *short, too_few(study.n_patients)]))
    return Section(
        "In short", text, cautions, facts, [(table, caption)],
        figures=[(curve, words, "label-efficiency curves")],
    )  # fmt: skip


def verdicts(told: Told) -> list[str]:
    """What is shown of every arm, in a sentence; nothing by runs that have learnt nothing."""
    study, gains = told.study, told.study.differences()
    idle = [
        {(arm, count), (study.baselines[arm], count)} & told.idle
        for arm, count in zip(gains["arm"], gains["labelled"], strict=True)
    ]
    gains = gains[[not some for some in idle]]
    return [_verdict(arm, gains[gains["arm"] == arm]) for arm in study.baselines]


def _verdict(arm: str, gains: pd.DataFrame) -> str:
    above = gains.loc[gains["low"] > 0, "labelled"].tolist()
    below = gains.loc[gains["high"] < 0, "labelled"].tolist()
    said = [
        f"{arm} {did} with {_listed(counts)} labelled scan{'s' if counts != [1] else ''} "
        f"(the whole interval lies {where} 0)"
        for counts, did, where in ((above, "gains", "above"), (below, "loses", "below"))
        if counts
    ]
    return (
        "; ".join(said) or f"Of {arm} no gain and no loss is shown at any number of labels"
    ) + "."


def _listed(counts: Sequence[int]) -> str:
    *first, last = map(str, counts)
    return f"{', '.join(first)} and {last}" if first else last


def _several(study: Efficiency) -> bool:
    """Whether there is more than one number of labels to go by."""
    return len({count for _, count in study.runs}) > 1


def _gains(told: Told) -> Section:
    study, gains = told.study, told.study.differences()
    rows = [
        {"name": f"{r['labelled']} labels", "group": r["arm"], **r[["estimate", "low", "high"]]}
        for _, r in gains.iterrows()
    ]
    better = "" if study.better > 0 else " The sign is turned: more is better."
    table = gains.assign(**{"95 % interval": gains.apply(between, axis=1)})
    for column in ("p", "p, corrected"):
        table[column] = table[column].map(probability)
    table = table.rename(columns={"estimate": "gain"})[GAINS]
    text = (
        f"What every arm gains in {title(told.main)} over the same network from scratch, on the same "
        f"labelled scans and test cases.{better} P-values are two-sided, of the same resamples, and "
        f"corrected for {len(gains)} comparisons after Holm; the lowest and the highest run are differences "
        "of single fine-tunings."
    )
    forest = charts.dots_with_intervals(rows, 0, f"gain in {title(told.main)}")
    words = "Gains with 95 % intervals; right of the line pretraining is better."
    return Section(
        "Gain over training from scratch", text, tables=[(table, "Paired gains.")],
        figures=[(forest, words, "forest plot of the gains")],
    )  # fmt: skip


def _labels_saved(study: Efficiency) -> Section:
    needed = study.needed()
    most = {arm: study.counts(base)[-1] for arm, base in study.baselines.items()}
    least = {arm: study.counts(base)[0] for arm, base in study.baselines.items()}

    def words(row: pd.Series) -> str:
        def one(value: float) -> str:
            if value > most[row["arm"]]:
                return f"> {most[row['arm']]}"
            if value <= least[row["arm"]]:
                return f"\N{LESS-THAN OR EQUAL TO} {least[row['arm']]}"
            return f"{value:.3g}"

        told = [one(row[name]) for name in ("estimate", "low", "high")]
        return told[0] if len(set(told)) == 1 else f"{told[0]} ({told[1]} to {told[2]})"

    text = (
        "How many labelled scans training from scratch needs for the score that an arm reaches with fewer, "
        "read off its curve (straight between points, over the logarithm of labels); what lies beyond the "
        "curve is told as more or fewer than its end."
    )
    table = _wide(needed, words)
    return Section(
        "Labels saved at equal score", text, tables=[(table, "Labels needed from scratch.")]
    )


def _shrinking(study: Efficiency) -> Section:
    losses = study.losses()
    losses = losses.assign(loss=losses.apply(with_interval, axis=1))[["arm", "from", "to", "loss"]]
    shares = _wide(study.shares(), with_interval)
    text = (
        "How robust an arm is when labels shrink, and how near it comes with few labels to what training "
        "from scratch reaches with most."
    )
    return Section(
        "When labels are few", text,
        tables=[
            (losses, "Loss of score between most and fewest labels, with 95 % intervals."),
            (shares, "Score as a share of what training from scratch reaches with most labels."),
        ],
    )  # fmt: skip


def _subgroups(told: Told) -> Section:
    table = told.subgroups
    table = table.assign(gain=table.apply(with_interval, axis=1))
    table = table[["group", "value", "patients", "arm", "labelled", "gain"]]
    return Section("Subgroups", "Gains of every group of test patients apart.",
                   tables=[(table, "Gains by group, with 95 % intervals.")])  # fmt: skip


def _other_figures(told: Told) -> Section:
    rows = []
    for name, study in told.figures.items():
        if name == told.main:
            continue
        few = min(count for _, count in study.runs)
        curve = study.curve()
        curve = curve[curve["labelled"] == few]
        scores = {r["arm"]: with_interval(r) for _, r in curve.iterrows()}
        rows.append({"figure": title(name), **scores})
    few = min(count for _, count in told.study.runs)
    return Section(
        "Every class, every figure", "All numbers of labels are in figures.csv.",
        tables=[(pd.DataFrame(rows), f"Scores with {few} labelled, with 95 % intervals.")],
    )  # fmt: skip


def _calibration(told: Told) -> Section:
    names = list(told.card["classes"].values())
    drawn = []
    for arm, cases in told.cases.items():
        _, _, figures = answers.results(cases, names)
        drawn += [(f, f"{arm}: {words}", alt) for f, words, alt in figures if "eliability" in words]
    return Section("Calibration", "With fewest labels, the first draw.", figures=drawn)


def _settings(told: Told) -> Section:
    rows = []
    for (arm, count), scores in told.validations.items():
        best = max(scores, key=scores.get)
        rows.append({"arm": arm, "labelled": count or "all", "chosen": best} |
                    {f"trial {k}": v for k, v in sorted(scores.items())})  # fmt: skip
    of_arms, of_scratch = (
        pd.DataFrame([{"trial": k, "settings": _keys(keys)} for k, keys in enumerate(trials)])
        for trials in told.trials
    )
    text = (
        "Every arm tried as many settings. The mean score on validation scans chose among them, for each "
        "number of labels; test scans had no part in it."
    )
    tables = [
        (pd.DataFrame(rows), "Scores on validation scans."),
        (of_arms, "Trials of pretrained arms."),
    ]
    if told.trials[0] != told.trials[1]:
        tables.append((of_scratch, "Trials from scratch."))
    return Section("How settings were chosen", text, tables=tables)


def _keys(keys: dict, prefix: str = "") -> str:
    return " ".join(
        _keys(v, f"{prefix}{k}.") if isinstance(v, dict) else f"{prefix}{k}={v}"
        for k, v in keys.items()
    )


def _cost(told: Told) -> Section:
    text = "Minutes that networks were trained for, on this device"
    if told.cost["kWh"].isna().all():
        text += ", which does not tell its energy"
    table = told.cost.dropna(axis=1, how="all")
    formats = {c: ".1f" for c in table if "minutes" in c}
    return Section("Cost", f"{text}.", tables=[(table, "Cost of every arm.")], formats=formats)


def _wide(table: pd.DataFrame, words: Callable[[pd.Series], str]) -> pd.DataFrame:
    """A row a number of labels, a column an arm."""
    told = table.assign(told=table.apply(words, axis=1))
    wide = told.pivot(index="labelled", columns="arm", values="told")
    wide = wide[list(dict.fromkeys(table["arm"]))].fillna("\N{EN DASH}")
    return wide.rename_axis(columns=None).reset_index()
