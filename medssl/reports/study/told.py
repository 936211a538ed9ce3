"""What a study found, as its page takes it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medssl.evaluation.efficiency import Cell, Efficiency
from medssl.reports import efficiency

UNFOUND = 0.05  # Dice of a class under which it is as good as not found
WHOLE = "steps asked for"  # of pretraining, before minutes= cut them: a column of its cost


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
    tolerance    of NSD, mm
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
    tolerance: float
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

    @property
    def unfound(self) -> dict[Cell, list[str]]:
        """Of which classes a cell finds next to nothing, though of others it does."""
        cells: dict[Cell, list[str]] = {}
        for name, study in self.figures.items():
            measure, _, of = name.partition(", ")
            if measure == "dice" and of != "mean of classes":
                for cell, dice in study.estimates.items():
                    if dice < UNFOUND and cell not in self.idle:
                        cells.setdefault(cell, []).append(of)
        return cells
