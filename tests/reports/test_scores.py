from math import nan

import numpy as np
import pandas as pd

from medssl.evaluation.comparison import compare
from medssl.evaluation.titles import title
from medssl.reports import comparison
from medssl.reports.comparison import Compared
from medssl.reports.scores import between, probability, with_interval
from tests.evaluation.test_summary import segmented


def test_figures_are_called_and_written_as_in_papers():
    assert title("dice, liver") == "Dice, liver" and title("nsd") == "NSD"
    assert title("ap at IoU 0.5") == "AP at IoU 0.5"
    value = {"estimate": -0.25, "low": -0.5, "high": 0.0}
    assert with_interval(value) == "\N{MINUS SIGN}0.250 (\N{MINUS SIGN}0.500 to 0.000)"
    assert between({"low": nan, "high": nan}) == with_interval({"estimate": nan}) == "not defined"
    assert [probability(p) for p in (0.0004, 0.001, 1, nan)] == [
        "< 0.001", "0.001", "1.000", "\N{EN DASH}"
    ]  # fmt: skip


def of_classes(n: int) -> pd.DataFrame:
    """Segmentations of so many classes."""
    base = segmented().query("`class` == 'a'")
    return pd.concat(
        [base.assign(**{"class": f"c{i}", "dice": base["dice"] - i / 999}) for i in range(n)]
    )


def test_of_very_many_figures_a_page_shows_means_and_the_first_and_says_how_many_more(tmp_path):
    cases = {"a": of_classes(40), "b": of_classes(40).assign(nsd=0.7)}
    table = compare(cases, n=100)
    page = comparison.write(
        tmp_path / "r.html",
        Compared("segmentation", "test", table, cases, [], None, 100, 0, ["Careful now."]),
    ).read_text()
    n = table["figure"].nunique()
    assert n == 82 and f"{n - comparison.MOST_ROWS} more figures, of single classes, are in" in page
    assert "NSD, mean of classes" in page and "Dice, c5" in page and "Dice, c39" not in page
    assert "Careful now." in page and "all other figures for 81 comparisons" in page


def test_runs_without_a_difference_have_a_page(tmp_path):
    cases = {"a": segmented(), "b": segmented().assign(dice=np.nan, nsd=np.nan)}
    page = comparison.write(
        tmp_path / "r.html",
        Compared("segmentation", "test", compare(cases, n=100), cases, [], None, 100, 0),
    ).read_text()
    assert "not defined" in page and "Not known: of some only the evaluation" in page
