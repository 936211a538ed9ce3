"""Who gains, who loses, and of whom nothing can be said."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd

from medssl.evaluation.efficiency import efficiency
from medssl.reports import efficiency as of_page
from medssl.reports import study as page
from medssl.reports.style import as_png
from tests.reports.study.made import DICE, told


def test_the_page_says_who_gains_who_loses_and_of_whom_nothing_is_shown(tmp_path, about):
    text = page.write(tmp_path, about).read_text()
    gains = about.study.differences().set_index("arm").round(3)["estimate"].abs()
    for arm, did, where in (("ahead", "gains", "above"), ("behind", "loses", "below")):
        sizes = "{:.3f}, {:.3f} and {:.3f}".format(*gains[arm])
        words = f"with 2, 4 and 8 labelled scans (the whole interval lies {where} 0)"
        assert f"{arm} {did} {sizes} {words}" in text
    assert "Of alike no gain and no loss is shown at any number of labels." in text
    assert "Mind &lt;this&gt;." in text and "corrected for 9 comparisons" in text
    assert "on 6 validation scans, whose labels come on top of those of the curve, chose" in text
    assert "which does not tell its energy" in text and "optim.lr=2" in text
    assert (tmp_path / "curve.png").read_bytes() == as_png(of_page.curves(
        about.study, "Dice, mean of classes"
    ))  # fmt: skip


def test_runs_that_have_learnt_nothing_are_marked_and_not_judged(tmp_path, about):
    some = replace(about, idle={("ahead", 2)})
    said = of_page.verdicts(some.study, some.idle)[0]
    assert re.sub(r"0\.\d{3}", "N", said) == (
        "ahead gains N and N with 4 and 8 labelled scans (the whole interval lies above 0); ahead is not "
        "judged with 2 labelled scans: it, or training from scratch, has learnt next to nothing there."
    )
    scratch = {("from scratch", n) for n in (2, 4, 8)}
    assert all(
        words.endswith("has learnt next to nothing there.") and "no gain" not in words
        for words in of_page.verdicts(about.study, scratch)
    )
    text = page.write(tmp_path, some).read_text()
    # in as many captions
    assert text.count("\N{DAGGER}: next to nothing was learnt") == 8
    (gains, _), (needed, _) = (
        section.tables[0]
        for section in (
            of_page.gains_section(some.study, DICE, some.idle),
            of_page.labels_saved(some.study, some.idle),
        )
    )
    marked = gains["labelled"].str.endswith("\N{DAGGER}")
    assert gains.loc[marked, "arm"].tolist() == ["ahead"] and needed["ahead"][0].endswith(
        "\N{DAGGER}"
    )
    (losses, _), _ = of_page.shrinking(some.study, some.idle).tables  # with 2 labels, from 8
    marked = losses["loss"].str.endswith("\N{DAGGER}")
    assert losses.loc[marked, "arm"].tolist() == ["ahead"]
    of_scratch = {("from scratch", 8)}  # all shares are of it, and labels are read off its curve
    _, (shares, _) = of_page.shrinking(some.study, of_scratch).tables
    (needed, _), = of_page.labels_saved(some.study, of_scratch).tables  # fmt: skip
    for table in (shares, needed):
        assert (
            table.drop(columns="labelled")
            .map(lambda told: told.endswith("\N{DAGGER}"))
            .all(axis=None)
        )
    assert of_page.judged(some.study, of_scratch, "losses")["judged"].tolist() == [
        False,
        *[True] * 3,
    ]
    left, right = of_page.curves(some.study, "Dice", some.idle).axes
    for axis in (left, right):
        (hollow,) = [line for line in axis.lines if line.get_markerfacecolor() == "white"]
        assert len(hollow.get_xdata()) == 1


def test_what_does_not_hold_after_correction_is_told():
    gains = pd.DataFrame({
        "arm": ["ahead"] * 3 + ["behind"], "labelled": [2, 4, 8, 2], "p": [0.04, 0.001, 0.3, 0.03],
        "p, corrected": [0.09, 0.004, 0.3, 0.09], "low": [0.01, 0.02, -0.1, -0.1],
        "high": [0.1, 0.1, 0.1, -0.01], "estimate": [0.05, 0.06, 0, -0.05], "runs": 3,
        "lowest run": [0.04, 0.05, -0.1, -0.07], "highest run": [0.06, 0.07, 0.1, -0.02],
    })  # fmt: skip
    against = dict.fromkeys(["ahead", "behind"], "from scratch")
    some = SimpleNamespace(
        baselines=against, differences=lambda: gains, counts=lambda arm: [2, 4, 8]
    )
    assert of_page.verdicts(some, set()) == [
        "ahead gains 0.050 and 0.060 with 2 and 4 labelled scans (the whole interval lies above 0; with 2 "
        "not after correction for 4 comparisons); with 8 labelled scans nothing is shown.",
        "behind loses 0.050 with 2 labelled scans (the whole interval lies below 0; not after correction "
        "for 4 comparisons).",
    ]


def test_two_patients_show_nothing_however_narrow_their_interval():
    tables = {("from scratch", 2): [told(0.5, 0).iloc[:2]], ("ahead", 2): [told(0.6, 0).iloc[:2]]}
    found = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)[DICE]
    assert found.differences()["low"][0] > 0
    assert of_page.verdicts(found, set())[0].startswith("Of ahead no gain and no loss is shown")


def test_it_is_said_where_less_is_better(tmp_path, about):
    tables = {("from scratch", 2): [told(0.5, 0)], ("ahead", 2): [told(0.3, 0)]}
    figures = efficiency(tables, {"ahead": "from scratch"}, {DICE: -1}, n=1000)
    text = page.write(tmp_path, replace(about, figures=figures)).read_text()
    assert "ahead gains 0.200 with 2" in text and "Less is better of this figure" in text
    assert "Less is better" not in page.write(tmp_path, about).read_text()


def test_a_tiny_gain_is_none_of_0():
    tables = {("from scratch", 2): [told(0.5, 0)], ("ahead", 2): [told(0.5003, 0)]}
    found = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)[DICE]
    assert of_page.verdicts(found, set())[0].startswith("ahead gains 0.0003 with 2")


def test_where_single_fine_tunings_disagree_with_a_gain_it_is_said(tmp_path, about):
    tables = {("from scratch", n): [told(0.5, 0), told(0.5, 0)] for n in (2, 4)}
    tables |= {("mixed", 2): [told(0.6, 0), told(0.49, 0)], ("mixed", 4): [told(0.6, 0)] * 2}
    found = efficiency(tables, {"mixed": "from scratch"}, {DICE: 1}, n=1000)
    last = of_page.verdicts(found[DICE], set())[-1]
    assert last.startswith(
        "Single fine-tunings lie on both sides of 0 here (mixed with 2 labelled scans)"
    )
    assert last in page.write(tmp_path, replace(about, figures=found)).read_text()


def test_a_gain_that_one_pair_of_fine_tunings_shows_is_told():
    tables = {("from scratch", n): [told(0.5, 0)] * runs for n, runs in ((2, 3), (8, 1))}
    tables |= {("ahead", n): [told(0.6, 0)] * runs for n, runs in ((2, 3), (8, 1))}
    found = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)[DICE]
    last = of_page.verdicts(found, set())[-1]
    assert last.startswith(
        "One pair of fine-tunings alone shows this (ahead with 8 labelled scans)"
    )
    assert "seeds=3" in last
    alike = {cell: [told(0.5, 0)] * len(runs) for cell, runs in tables.items()}
    found = efficiency(alike, {"ahead": "from scratch"}, {DICE: 1}, n=1000)[DICE]
    assert len(of_page.verdicts(found, set())) == 1
