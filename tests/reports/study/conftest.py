"""Made figures of a study, and what its page is told."""

import pandas as pd
import pytest

from medssl.evaluation.efficiency import efficiency
from medssl.reports import study as page
from tests.reports.study.made import DICE, cost_of, told

CARD = {
    "cohort": "c0ffee", "versions": {"medssl": "0"}, "classes": {1: "ball"},
    "config": {"fit": {"steps": 40}}, "counts": {"validation": {"scans": 6}},
    "recipe": {"modality": "MR"},
}  # fmt: skip


@pytest.fixture(scope="session")
def found():
    tables = {}
    for k, n in enumerate((2, 4, 8)):
        tables["from scratch", n] = [told(0.5 + 0.1 * k, 0)]
        tables["ahead", n] = [told(0.6 + 0.1 * k, 1)]
        tables["behind", n] = [told(0.4 + 0.1 * k, 2)]
        tables["alike", n] = [told(0.5 + 0.1 * k, 0)]
    against = dict.fromkeys(["ahead", "behind", "alike"], "from scratch")
    return efficiency(tables, against, {DICE: 1, "dice, ball": 1}, n=1000)


@pytest.fixture
def about(found):
    return page.Told(
        found, DICE, cost=cost_of({"ahead": (3.0, 10, 10)}),
        subgroups=pd.DataFrame(), validations={("ahead", 2): {0: 0.5, 1: 0.7}},
        trials=([{"optim": {"lr": 1}}, {"optim": {"lr": 2}}], [{}, {"optim": {"lr": 3}}]),
        cases={"ahead": told(0.6, 1)}, pretrained={}, cards={}, whole=True, pictures=[],
        some=True, draws=3, tolerance=2,
        cautions=["Mind <this>."], idle=set(),
        cohort=pd.DataFrame({"id": ["a"], "patient": ["p"], "split": ["train"], "modality": ["MR"],
                             "verdict": ["used"]}),
        card=CARD, commands=["medssl study"], facts={"seed": 0},
    )  # fmt: skip
