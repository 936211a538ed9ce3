"""How a score grows with labels, and what every arm gains, as sentences, a figure and sections of a page."""

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from medssl.evaluation.comparison import LEVEL
from medssl.evaluation.efficiency import Cell, Efficiency
from medssl.evaluation.titles import title
from medssl.reports import charts
from medssl.reports.html import Section
from medssl.reports.scores import between, probability, with_interval
from medssl.reports.style import LINES, SOFT, styled

GAINS = [
    "arm", "labelled", "gain", "95 % interval", "p", "p, corrected", "runs", "lowest run", "highest run"
]  # fmt: skip
SCRATCH = "training from scratch"
MARK = " \N{DAGGER}"
MARKERS = "os^Dv"  # of arms that share a colour
MARKED = f"{MARK.strip()}: next to nothing was learnt, here or from scratch, so that nothing is judged by it."


def judged(study: Efficiency, idle: set[Cell], name: str = "differences") -> pd.DataFrame:
    """A table of a study (curve, differences, needed, shares, losses), and whether anything is to be judged
    by a row: by none that rests on a run that has learnt nothing (`idle`)."""
    table = getattr(study, name)()
    rows = table.to_dict("records")
    return table.assign(judged=[not _rests_on(study, name, row) & idle for row in rows])


def _rests_on(study: Efficiency, name: str, row: dict) -> set[Cell]:
    arm, base = row["arm"], study.baselines.get(row["arm"], row["arm"])
    if name == "losses":
        return {(arm, row["from"]), (arm, row["to"])}
    counts = study.counts(base)
    others = {
        "curve": [], "differences": [row["labelled"]], "needed": counts, "shares": counts[-1:]
    }  # fmt: skip
    return {(arm, row["labelled"]), *((base, count) for count in others[name])}


def unjudged(study: Efficiency, idle: set[Cell], name: str = "differences") -> set[Cell]:
    """Arms and counts by whose row of a table nothing is to be judged."""
    table = judged(study, idle, name)
    table = table[~table["judged"]]
    return set(zip(table["arm"], table["labelled"], strict=True))


def verdicts(study: Efficiency, idle: set[Cell]) -> list[str]:
    """What is shown of every arm, in a sentence, nothing by runs that have learnt nothing (`idle`); and where
    single fine-tunings gainsay it."""
    every, out = judged(study, idle), unjudged(study, idle)
    gains = every[every["judged"]]
    said = [
        _verdict(arm, gains[gains["arm"] == arm], len(every), sorted(n for a, n in out if a == arm))
        for arm in study.baselines
    ]
    return [*said, *_unsettled(gains)]


def _unsettled(gains: pd.DataFrame) -> list[str]:
    """Intervals speak of other patients alone: of which gains and losses single fine-tunings disagree, and
    which rest on one."""
    shown = gains[_shown(gains)]
    mixed = shown[(shown["lowest run"] < 0) & (shown["highest run"] > 0)]
    once, said = shown[shown["runs"] == 1], []
    if len(mixed):
        said.append(
            f"Single fine-tunings lie on both sides of 0 here ({_where(mixed)}): other draws of labels or "
            "another pretraining may show nothing."
        )
    if len(once):
        said.append(
            f"One pair of fine-tunings alone shows this ({_where(once)}), and another may show the opposite: "
            "intervals and p-values speak of other patients, not of training again (seeds=3 trains thrice)."
        )
    return said


def _shown(gains: pd.DataFrame) -> pd.Series:
    """Which are shown to gain or lose; of very few patients no interval shows anything."""
    return (gains["p"] < LEVEL) & ((gains["low"] > 0) | (gains["high"] < 0))


def _where(gains: pd.DataFrame) -> str:
    return "; ".join(
        f"{arm} with {_labels(rows['labelled'].tolist())}"
        for arm, rows in gains.groupby("arm", sort=False)
    )


def among(table: pd.DataFrame, cells: set[Cell]) -> pd.Series:
    """Whether the row of an arm and count is one of these cells."""
    rows = zip(table["arm"], table["labelled"], strict=True)
    return pd.Series([row in cells for row in rows], table.index, bool)


def _verdict(arm: str, gains: pd.DataFrame, compared: int, out: list[int]) -> str:
    shown, rest = gains[_shown(gains)], gains[~_shown(gains)]
    above, below = shown[shown["low"] > 0], shown[shown["high"] < 0]
    said = [
        f"{arm} {did} {_listed([_size(gain) for gain in rows['estimate']])} with "
        f"{_labels(rows['labelled'])} (the whole interval lies {where} 0{_uncorrected(rows, compared)})"
        for rows, did, where in ((above, "gains", "above"), (below, "loses", "below"))
        if len(rows)
    ]
    if said and len(rest):
        said.append(f"with {_labels(rest['labelled'])} nothing is shown")
    elif len(rest):
        where = f"with {_labels(rest['labelled'])}" if out else "at any number of labels"
        said = [f"Of {arm} no gain and no loss is shown {where}"]
    if out:
        why = f"it, or {SCRATCH}, has learnt next to nothing there"
        said.append(f"{arm} is not judged with {_labels(out)}: {why}")
    return "; ".join(said) + "."


def _size(gain: float) -> str:
    """Of a gain or loss, with three decimals, or as many as it takes to be none of 0."""
    return f"{abs(gain):.3f}" if abs(gain) >= 0.0005 else f"{abs(gain):.1g}"


def _uncorrected(rows: pd.DataFrame, compared: int) -> str:
    """Which of these gains might be one of many that were looked at."""
    alone = rows.loc[rows["p, corrected"] >= LEVEL, "labelled"].tolist()
    if not alone:
        return ""
    these = f"with {_listed(alone)} " if len(alone) < len(rows) else ""
    return f"; {these}not after correction for {compared} comparisons"


def _labels(counts: Sequence) -> str:
    listed = _listed(counts)
    return f"{listed} labelled scan{'s' * (listed != '1')}"


def _listed(each: Sequence) -> str:
    *first, last = map(str, each)
    return f"{', '.join(first)} and {last}" if first else last


def marks(table: pd.DataFrame, cells: set[Cell]) -> pd.Series:
    """What stands behind a row of an arm and count: a mark if it is one of these cells."""
    return among(table, cells).map({True: MARK, False: ""})


@styled
def curves(study: Efficiency, label: str, idle: set[Cell] = frozenset()) -> Figure:
    """Scores over the number of labels with their intervals, and beside them what every arm gains; hollow
    where nothing is judged."""
    curve, gains = study.curve(), study.differences()
    figure = Figure(figsize=(7.6, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = sorted(curve["labelled"].unique())
    scratch = [a for a in study.arms if a not in study.baselines]
    looks = {
        arm: (LINES[i % len(LINES)], MARKERS[i // len(LINES) % len(MARKERS)])
        for i, arm in enumerate(study.baselines)
    }
    right.axhline(0, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    for axis, table, out in ((left, curve, idle), (right, gains, unjudged(study, idle))):
        arms = list(dict.fromkeys(table["arm"]))
        for i, arm in enumerate(arms):
            rows = table[table["arm"] == arm].sort_values("labelled")
            # Side by side, so that intervals at the same number of labels can be told apart.
            x = rows["labelled"] * 2.0 ** (0.09 * (i - (len(arms) - 1) / 2))
            plain = arm in scratch
            colour, marker = (SOFT, "o") if plain else looks[arm]
            line = (0, (4, 3)) if plain else "solid"
            axis.vlines(x, rows["low"], rows["high"], color=colour, linewidth=1.3, alpha=0.55)
            axis.plot(x, rows["estimate"], color=colour, linestyle=line, marker=marker, markersize=4,
                      label=arm)  # fmt: skip
            hollow = among(rows, out)
            if hollow.any():
                axis.plot(x[hollow], rows["estimate"][hollow], color=colour, linestyle="none",
                          marker=marker, markersize=4, markerfacecolor="white")  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)  # a single one stands in the middle
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.set_xlabel("labelled scans")
    left.set_ylabel(label)
    right.set_ylabel(f"gain over {SCRATCH if len(scratch) == 1 else 'its network from scratch'}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def gains_section(study: Efficiency, main: str, idle: set[Cell]) -> Section:
    gains, out = study.differences(), unjudged(study, idle)
    marked = marks(gains, out)
    rows = [
        {"name": f"{r['labelled']} labels{mark}", "group": r["arm"], **r[["estimate", "low", "high"]]}
        for (_, r), mark in zip(gains.iterrows(), marked, strict=True)
    ]  # fmt: skip
    better = "" if study.better > 0 else " The sign is turned: more is better."
    table = gains.assign(**{"95 % interval": gains.apply(between, axis=1)})
    for column in ("p", "p, corrected"):
        table[column] = table[column].map(probability)
    if out:
        table["labelled"] = table["labelled"].astype("str") + marked
    table = table.rename(columns={"estimate": "gain"})[GAINS]
    text = (
        f"What every arm gains in {title(main)} over the same network from scratch, on the same "
        f"labelled scans and test cases.{better} P-values are two-sided, of the same resamples, and "
        f"corrected for {len(gains)} comparisons after Holm; a run is a pair of fine-tunings on the same "
        "labelled scans, and the lowest and the highest are differences of single pairs."
    )
    forest = charts.dots_with_intervals(rows, 0, f"gain in {title(main)}")
    words = caption("Gains with 95 % intervals; right of the line pretraining is better.", out)
    return Section(
        "Gain over training from scratch", text, tables=[(table, caption("Paired gains.", out))],
        figures=[(forest, words, "forest plot of the gains")],
    )  # fmt: skip


def several(study: Efficiency) -> bool:
    """Whether there is more than one number of labels to go by."""
    return len({count for _, count in study.runs}) > 1


def labels_saved(study: Efficiency, idle: set[Cell]) -> Section:
    needed, out = study.needed(), unjudged(study, idle, "needed")
    most = {arm: study.counts(base)[-1] for arm, base in study.baselines.items()}
    least = {arm: study.counts(base)[0] for arm, base in study.baselines.items()}

    def words(row: pd.Series) -> str:
        if pd.isna(row["estimate"]):
            return "not defined"

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
    table = by_labels(needed, words, out)
    told = caption("Labels needed from scratch.", out)
    return Section("Labels saved at equal score", text, tables=[(table, told)])


def shrinking(study: Efficiency, idle: set[Cell]) -> Section:
    losses, out = judged(study, idle, "losses"), unjudged(study, idle, "shares")
    marked = losses["judged"].map({True: "", False: MARK})
    losses = losses.assign(loss=losses.apply(with_interval, axis=1) + marked)
    losses = losses[["arm", "from", "to", "loss"]]
    text = "How robust an arm is when labels shrink"
    loss = "Loss of score between most and fewest labels, with 95 % intervals."
    tables = [(losses, caption(loss, idle))]
    if study.better > 0:  # an error has no share
        text += ", and how near it comes with few labels to what training from scratch reaches with most"
        share = "Score as a share of what training from scratch reaches with most labels."
        tables.append((by_labels(study.shares(), with_interval, out), caption(share, out)))
    return Section("When labels are few", f"{text}.", tables=tables)


def scores(study: Efficiency, idle: set[Cell]) -> tuple[pd.DataFrame, str]:
    """The table of all scores, and its caption."""
    table = by_labels(study.curve(), with_interval, idle)
    return table, caption("Scores with 95 % intervals, by number of labelled scans.", idle)


def by_labels(
    table: pd.DataFrame, words: Callable[[pd.Series], str], marked: set[Cell]
) -> pd.DataFrame:
    """A row a number of labels, a column an arm."""
    told = table.apply(words, axis=1) + marks(table, marked)
    wide = table.assign(told=told).pivot(index="labelled", columns="arm", values="told")
    wide = wide[list(dict.fromkeys(table["arm"]))].fillna("\N{EN DASH}")
    return wide.rename_axis(columns=None).reset_index()


def caption(words: str, marked: set[Cell]) -> str:
    return f"{words} {MARKED}" if marked else words
