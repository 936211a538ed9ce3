"""Curves of label efficiency, and labels read off them."""

import numpy as np
import pytest

from medssl.evaluation.efficiency import efficiency
from medssl.reports import efficiency as of_page
from tests.reports.study.made import DICE, told


def test_more_arms_than_colours_are_told_apart():
    arms = [f"arm {k}" for k in range(8)]
    tables = {(arm, n): [told(0.5, 0)] for arm in ("from scratch", *arms) for n in (2, 4)}
    found = efficiency(tables, dict.fromkeys(arms, "from scratch"), {DICE: 1}, n=1000)[DICE]
    left, right = of_page.curves(found, "Dice").axes
    for axis, n in ((left, 9), (right, 8)):
        lines = [line for line in axis.lines if not line.get_label().startswith("_")]
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(lines) == n


def test_labels_beyond_the_curve_are_told_by_its_ends(about):
    (table, _), = of_page.labels_saved(about.study, set()).tables  # fmt: skip
    ahead, behind, alike = (
        dict(zip(table["labelled"], table[arm], strict=True))
        for arm in ("ahead", "behind", "alike")
    )
    assert alike == {2: "\N{LESS-THAN OR EQUAL TO} 2", 4: "4", 8: "8"}
    assert ahead[8] == "> 8" and behind[2] == "\N{LESS-THAN OR EQUAL TO} 2"  # as its interval does
    assert float(ahead[2].split(" ")[0]) == pytest.approx(4, rel=0.15)


def test_every_arm_has_its_line_in_both_panels_and_scratch_the_zero(found):
    figure = of_page.curves(found[DICE], "Dice")
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["from scratch", "ahead", "behind", "alike"]
    named = [line.get_label() for line in right.lines if not line.get_label().startswith("_")]
    assert named == ["ahead", "behind", "alike"]
    colours = {line.get_label(): line.get_color() for line in left.lines}
    assert all(line.get_color() == colours[line.get_label()] for line in right.lines[1:])
    gains = {line.get_label(): line.get_ydata() for line in right.lines[1:]}
    assert np.allclose(gains["alike"], 0) and (gains["ahead"] > 0.05).all()
