"""What a reader of a study's page sees first: what is shown, how far it can be trusted, and cautions."""

import pandas as pd

from medssl.evaluation.intervals import too_few
from medssl.evaluation.titles import title
from medssl.reports import efficiency
from medssl.reports.html import Section
from medssl.reports.scores import signed
from medssl.reports.study.told import WHOLE, Told

ALIKE = 1.1  # times the minutes of another pretraining, up to which they are told to be alike
ENOUGH = 3  # draws, under which it is said that they are few


def short(told: Told, curve: bytes) -> Section:
    study, said = told.study, efficiency.verdicts(told.study, told.idle)
    runs = max(len(r) for r in study.runs.values())
    text = " ".join([*beginning(told), *said])
    if study.better < 0:
        text += " Less is better of this figure: what is gained is what it falls by."
    fewest = min(len(r) for r in study.runs.values())
    but = f" (with all of them: {fewest})" if fewest < runs else ""
    steps = told.card["config"]["fit"]["steps"]
    point, apart = "one fine-tuning", _apart(told)
    if runs > 1:
        on = "different" if told.draws > 1 and told.some else "the same"
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


def beginning(told: Told) -> list[str]:
    """What is said before any gain, where fine-tuning has not come far enough to speak of one."""
    if not told.unfound:
        return []
    return [
        "Training has hardly begun: of some classes next to nothing is found yet (below), and what follows "
        "speaks of that beginning only."
    ]


def _apart(told: Told) -> str:
    """How far single fine-tunings lie apart, of those by which an arm is judged."""
    gains = told.gains[told.gains["judged"]].dropna()
    if gains.empty:
        return ""
    low, high = signed(gains["lowest run"].min()), signed(gains["highest run"].max())
    return f"Single fine-tunings differ from theirs from scratch by {low} to {high}."


def _effort(cost: pd.DataFrame) -> str:
    """Where pretraining was cut short, and how far apart the arms lie in what it took."""
    said = ""
    if len(cut := cost[cost["pretraining, steps"] < cost[WHOLE]]):
        made = (
            f"{row['arm']} made {row['pretraining, steps']:,} of {row[WHOLE]:,} steps"
            for _, row in cut.iterrows()
        )
        said = f" The minutes given cut pretraining short: {'; '.join(made)}. More may gain more."
    spent = cost.dropna(subset=["pretraining, minutes"]).set_index("arm")["pretraining, minutes"]
    if spent.empty or spent.max() < spent.min() * ALIKE:
        return said
    least, most = spent.idxmin(), spent.idxmax()
    return f"{said} Pretraining took from {spent[least]:.1f} ({least}) to {spent[most]:.1f} minutes ({most})."


def cautions(told: Told) -> list[str]:
    """What a reader must not miss, and what the curves themselves give away."""
    short = [
        f"Training {arm} reaches less with most labels than with fewest: so few steps do not use them, and "
        "labels saved, shares and losses say little. Give finetune.fit.steps more."
        for arm in told.study.falling()
    ]
    collapsed = [
        f"The backbone of {arm} was found collapsed: {card['alarm']}."
        for arm, card in told.cards.items()
        if card.get("alarm")
    ]
    return [
        *told.cautions,
        *collapsed,
        *_unfound(told),
        *short,
        *filter(None, [too_few(told.study.n_scored, f"{title(told.main)} is of")]),
    ]


def _unfound(told: Told) -> list[str]:
    if not (cells := told.unfound):
        return []
    found = "; ".join(
        f"{arm} with {count} labels: {', '.join(classes)}"
        for (arm, count), classes in cells.items()
    )
    return [
        f"Next to nothing is found of some classes ({found}): gains and losses rest on how far training has "
        "come. Give finetune.fit.steps more."
    ]
