"""The page that sets runs side by side: one figure first, then all, then what was set otherwise."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from medssl.describe import plain
from medssl.evaluation.comparison import BETTER, WORSE, corrected_over
from medssl.evaluation.headline import higher_is_better
from medssl.evaluation.titles import title
from medssl.reports import answers, charts
from medssl.reports.html import Section
from medssl.reports.html import write as write_page
from medssl.reports.scores import UNITS, probability, with_interval
from medssl.reports.style import LINES

MOST_ROWS = 30  # of a table of figures on the page
MOST_DOTS = 30  # rows of a forest plot
MOST_LINES = len(LINES)


@dataclass
class Compared:
    """What is set side by side; all by the names of the runs, the first of which is the baseline.

    table      what `evaluation.comparison.compare` gave
    cases      tables of cases
    classes    of the task
    settings   in which they differ; None where these are not known of every run
    cautions   what a reader must not miss
    """

    task: str
    split: str
    table: pd.DataFrame
    cases: dict[str, pd.DataFrame]
    classes: list[str]
    settings: pd.DataFrame | None
    n: int
    seed: int
    cautions: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def write(path: Path, compared: Compared) -> Path:
    base, *others = compared.cases
    cases = compared.cases[base]
    scans, patients = cases["id"].nunique(), cases["patient"].nunique()
    sections = [_main(compared), _all(compared), _settings(compared)]
    if compared.commands:
        words = (
            "Folders are given here by their last name, since this page is made to be passed on."
        )
        sections.append(Section("How to reproduce", words, commands=compared.commands))
    subtitle = (
        f"{1 + len(others)} runs on the same {_count(scans, 'scan')} of {_count(patients, 'patient')}; "
        f"the baseline is {base}"
    )
    return write_page(path, f"{compared.task.capitalize()}: runs compared", subtitle, sections)


def _main(compared: Compared) -> Section:
    base, *others = compared.cases
    table = compared.table[compared.table["main"]].set_index("run")
    figure = table["figure"].iloc[0]
    better = "higher" if higher_is_better(figure) else "lower"
    text = (
        f"{title(figure)} on the {compared.split} split: {better} is better. The intervals are 95 % "
        f"percentile bootstrap intervals over patients ({compared.n} resamples, seed {compared.seed}); "
        f"differences to {base} are paired: of the same patients in every resample.\n\n"
        "P-values come from the same resamples, are two-sided, and are never smaller than the number of "
        "patients allows. One run of each kind was scored: what is said is said of other patients, not of "
        "training anew with another seed."
    )
    told = {
        run: with_interval(row) + ("" if run == base else f", {row['reading']}")
        for run, row in table.iterrows()
    }
    rows = [
        {"run": run, "score (95 % interval)": with_interval(row), **_gain(row, run == base)}
        for run, row in table.iterrows()
    ]
    words = (
        f"{title(figure)} of every run and its difference to {base}, of "
        f"{_count(int(table['n_patients'].iloc[0]), 'patient')} and "
        f"{_count(int(table['n_cases'].iloc[0]), 'case')}. {corrections(compared.table)}"
    )
    drawn = [
        (charts.dots_with_intervals(
            [{"name": run, "main": run != base, **row[["estimate", "low", "high"]]}
             for run, row in table.iterrows()],
            label=", ".join(filter(None, [title(figure), _unit(figure)]))),
         f"{title(figure)} and 95 % intervals.", "forest plot of the runs"),
        (_forest(compared.table[compared.table["main"]], base),
         f"Difference to {base}: {_side(figure)} of the line is better. Blue holds after correction.",
         "forest plot of the differences"),
    ]  # fmt: skip
    shown = dict(list(compared.cases.items())[:MOST_LINES])
    of = "" if len(shown) == len(compared.cases) else f" Of the first {len(shown)} runs."
    drawn += [(f, w + of, a) for f, w, a in answers.overlaid(shown, compared.classes)]
    drawn += _paired(shown, figure)
    return Section(
        "Which is better?", text, "\n\n".join(compared.cautions), told, [(pd.DataFrame(rows), words)],
        figures=drawn,
    )  # fmt: skip


def _all(compared: Compared) -> Section:
    base, *others = compared.cases
    table = compared.table
    figures = list(dict.fromkeys(table["figure"]))
    shown = _first(figures, MOST_ROWS)
    side = table[table["figure"].isin(shown)].assign(
        told=lambda t: [with_interval(r) for _, r in t.iterrows()]
    )
    wide = side.pivot(index="figure", columns="run", values="told").loc[shown, list(compared.cases)]
    wide = wide.rename(index=title).reset_index(names="score")
    gains = table[table["run"].ne(base) & table["figure"].isin(shown) & table["difference"].notna()]
    again = gains["figure"].eq(gains["figure"].shift())  # said once for its runs
    rows = [
        {"score": "" if same else title(row["figure"]), "run": row["run"], **_gain(row, False)}
        for same, (_, row) in zip(again, gains.iterrows(), strict=True)
    ]
    more = len(figures) - len(shown)
    text = "What is found among many figures proves less than what was named beforehand."
    if more:
        text += f" {more} more figures, of single classes, are in compare.csv."
    tables = [
        (wide.astype(object).where(wide.notna(), None), "Every score with its 95 % interval.")
    ]
    if rows:
        words = (
            f"Differences to {base}; distances and errors are better when they are lower."
            f" {corrections(table)}"
        )
        tables.append((pd.DataFrame(rows), words))
    rest = table[
        ~table["main"] & table["figure"].isin(_first(figures, MOST_DOTS // max(1, len(others))))
    ]
    drawn = [
        (
            _forest(some, base),
            f"Differences to {base}. {words} Blue holds after correction.",
            "forest plot of the differences",
        )
        for some, words in _by_axis(rest[rest["run"].ne(base)])
    ]
    return Section("All figures", text, tables=tables, figures=drawn)


def _settings(compared: Compared) -> Section:
    found = compared.settings
    if found is None:
        return Section(
            "What was set otherwise", "Not known: of some only the evaluation was given."
        )
    if found.empty:
        return Section("What was set otherwise", "Nothing: the runs have the same settings.")
    shown = found.map(lambda value: "not set" if value is None else plain(value))
    words = "Settings in which the runs differ; what is not set has its default."
    return Section("What was set otherwise", tables=[(shown, words)])


def corrections(table: pd.DataFrame) -> str:
    """How the p-values of the main figure, and those of all others, are corrected."""
    main = title(table.loc[table["main"], "figure"].iloc[0])
    over = corrected_over(table)
    said = [
        f"those of {of} for {_count(over[kind], 'comparison')}" if over[kind] > 1 else
        f"that of {of}, one comparison, is left as it is"
        for kind, of in ((True, main), (False, "all other figures"))
        if over.get(kind)
    ]  # fmt: skip
    return f"P-values are corrected after Holm: {'; '.join(said)}." if said else ""


def _gain(row: pd.Series, is_base: bool) -> dict:
    """The difference of one row of the comparison, as a table has it."""
    if is_base:
        none = "\N{EN DASH}"
        return {
            "difference (95 % interval)": none,
            "p": none,
            "p corrected": none,
            "reading": "baseline",
        }
    gain = {
        end: row["difference" + f" {end}" * (end != "estimate")]
        for end in ("estimate", "low", "high")
    }
    return {
        "difference (95 % interval)": with_interval(gain),
        "p": probability(row["p"]), "p corrected": probability(row["p corrected"]),
        "reading": row["reading"] or "not defined",
    }  # fmt: skip


def _forest(gains: pd.DataFrame, base: str) -> Figure:
    """Differences, those of one figure together; blue is what holds after correction."""
    gains = gains[gains["run"].ne(base)]
    one = gains["figure"].nunique() == 1
    rows = [
        {"name": row["run"], "group": "" if one else title(row["figure"]),
         "main": row["reading"] in (BETTER, WORSE),
         "estimate": row["difference"], "low": row["difference low"], "high": row["difference high"]}
        for _, row in gains.iterrows()
    ]  # fmt: skip
    unit = _unit(gains["figure"].iloc[0]) if len(gains) else ""
    return charts.dots_with_intervals(rows, 0, ", ".join(filter(None, ["difference", unit])))


def _by_axis(gains: pd.DataFrame) -> list[tuple[pd.DataFrame, str]]:
    """Differences that share an axis, those where higher is better apart, and words for them."""
    kinds: dict[tuple, list] = {}
    for name in dict.fromkeys(gains["figure"]):
        kinds.setdefault((higher_is_better(name), _unit(name)), []).append(name)
    return [
        (
            gains[gains["figure"].isin(names)],
            f"{_side(names[0]).capitalize()} of the line is better.",
        )
        for names in kinds.values()
    ]


def _paired(cases: dict[str, pd.DataFrame], figure: str) -> list:
    """Of masks: the same cases with the baseline and with each other run."""
    measure, _, of = figure.partition(", ")
    base, *others = cases
    if "dice" not in cases[base] or measure not in cases[base]:
        return []
    values = {
        run: (t if of == "mean of classes" else t[t["class"] == of]).groupby("id")[measure].mean()
        for run, t in cases.items()
    }
    return [
        (charts.paired(values[base], values[run].reindex(values[base].index), (base, run), title(figure)),
         f"Every case with {base} and with {run}.", f"paired scores of {base} and {run}")
        for run in others
    ]  # fmt: skip


def _first(figures: list[str], most: int) -> list[str]:
    """So many of them, means of classes before single ones, in their order."""
    ranked = sorted(figures, key=lambda f: (figures.index(f) > 0, ", " in f and "mean of" not in f))
    return [f for f in figures if f in ranked[: max(1, most)]]


def _side(figure: str) -> str:
    return "right" if higher_is_better(figure) else "left"


def _unit(figure: str) -> str:
    return UNITS.get(figure.partition(", ")[0], "")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
