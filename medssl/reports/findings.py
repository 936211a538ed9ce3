"""What others have found of pretraining and few labels, beside what a study finds.

Wolf 2023: Scientific Reports 13:20260. Chaitanya 2020: Advances in Neural Information Processing Systems
33. Wolf 2024: Computers in Biology and Medicine 183:109242.
"""

from collections.abc import Callable, Iterator, Set
from itertools import product

import pandas as pd

from medssl.evaluation.efficiency import Cell, Efficiency, share
from medssl.reports.html import Section
from medssl.reports.scores import with_interval

# Methods that compare views of scans with one another, as those do that SparK was compared with there.
OF_VIEWS = {
    "barlow", "byol", "global_contrast", "local_contrast", "moco", "simclr", "swav", "vicreg"
}  # fmt: skip
FEW = 2  # labelled volumes
WITHIN = 0.08  # of the score with all labels
NOT_JUDGED = "not judged"

# Who found it, what, what is put beside it, how far that speaks for it, from scores by cell, and where
# training from scratch may do as well, the same of it.
Row = tuple[str, str, str, Callable, Callable | None]


def section(
    study: Efficiency, cards: dict[str, dict], whole: bool, idle: Set[Cell] = frozenset()
) -> list[Section]:
    """A section, or none where a study says nothing of any of these.

    cards  of pretrained arms
    whole  its most labels are all that there are
    idle   cells of which a run, or a class, has learnt next to nothing; nothing is judged by them

    Curves that fall with more labels (`Efficiency.falling`) are set beside nothing.
    """
    if study.falling():
        return []
    rows = [
        {
            "finding": f"{source}: {finding}", "beside it, of this study": here,
            "figure": with_interval(told),
            "the data": NOT_JUDGED if _cells(make) & idle else verdict(told, alone and study.told(alone)),
        }
        for source, finding, here, make, alone in _rows(study, cards, whole) for told in [study.told(make)]
    ]  # fmt: skip
    if not rows:
        return []
    text = (
        "Findings of others, each beside a figure of this study that is above 0 where the data agree. "
        "Intervals are 95 % ones. Their data, networks and training were other ones."
    )
    if any(row["the data"] == NOT_JUDGED for row in rows):
        text += " Nothing is judged by fine-tunings that have learnt next to nothing, be it of one class."
    caption = "Findings of the field, and what these data say of them."
    return [Section("What the field has found", text, tables=[(pd.DataFrame(rows), caption)])]


def _cells(make: Callable) -> set[Cell]:
    """The cells whose scores a figure is made of."""

    class Noted(dict):
        def __missing__(self, cell: Cell) -> float:
            self[cell] = 1.0
            return 1.0

    scores = Noted()
    make(scores)
    return set(scores)


def verdict(told: dict[str, float], alone: dict[str, float] | None = None) -> str:
    """What data say of a finding; `alone` is the figure of training from scratch where that may do, too."""
    if told["low"] > 0:
        return "agree, also from scratch" if alone and alone["estimate"] > 0 else "agree"
    return "do not agree" if told["high"] < 0 else "show neither"


def _rows(study: Efficiency, cards: dict[str, dict], whole: bool) -> Iterator[Row]:
    yield from _robust(study, cards)
    if whole and study.better > 0:  # an error has no share
        yield from _nearly_all(study)
    yield from _reduced(study, cards)


def _robust(study: Efficiency, cards: dict[str, dict]) -> Iterator[Row]:
    named = {arm: card["method"]["name"] for arm, card in cards.items() if "method" in card}
    masked = [arm for arm, name in named.items() if name == "spark"]
    of_views = [arm for arm, name in named.items() if name in OF_VIEWS]
    for ours, other in product(masked, of_views):
        counts = study.counts(ours)
        few, most = counts[0], counts[-1]
        if few == most:
            continue
        yield (
            "Wolf 2023", "SparK is more robust than contrastive methods when labels shrink",
            f"loss of {other} from {most} to {few} labels, less that of {ours}",
            lambda v, a=ours, b=other, few=few, most=most: study.better
            * (v[b, most] - v[b, few] - v[a, most] + v[a, few]),
            None,
        )  # fmt: skip


def _nearly_all(study: Efficiency) -> Iterator[Row]:
    for arm, base in study.baselines.items():
        most = study.counts(base)[-1]
        if FEW not in study.counts(arm) or most == FEW:
            continue
        yield (
            "Chaitanya 2020", "two labelled volumes come within 8 % of training on all",
            f"share that {arm} with {FEW} labels reaches of {base} with {most}, less {1 - WITHIN:.2f}",
            lambda v, a=arm, b=base, most=most: share(v[a, FEW], v[b, most]) - (1 - WITHIN),
            lambda v, b=base, most=most: share(v[b, FEW], v[b, most]) - (1 - WITHIN),
        )  # fmt: skip


def _patients(card: dict) -> set[str]:
    return set(card.get("patients", {}).get("pretrain", ()))


def _reduced(study: Efficiency, cards: dict[str, dict]) -> Iterator[Row]:
    for (some, a), (every, b) in product(cards.items(), repeat=2):
        alike = all(a.get(key) == b.get(key) for key in ("method", "backbone"))
        of_it = _patients(a) <= _patients(b)  # a part of what the other has seen
        if not (alike and of_it and a.get("selection") and not b.get("selection")):
            continue
        counts = [n for n in study.counts(some) if n in study.counts(every)]
        yield (
            "Wolf 2024", "pretraining on fewer scans, without near copies, is better",
            f"gain of {some} over {every}, mean of {len(counts)} numbers of labels",
            lambda v, a=some, b=every, counts=counts: study.better
            * sum(v[a, n] - v[b, n] for n in counts) / len(counts),
            None,
        )  # fmt: skip
