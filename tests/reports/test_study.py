"""The page of a study, on made figures."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.efficiency import efficiency
from medssl.reports import efficiency as of_page
from medssl.reports import study as page
from medssl.reports.study.told import WHOLE
from medssl.reports.style import as_png

DICE = "dice, mean of classes"
CARD = {
    "cohort": "c0ffee", "versions": {"medssl": "0"}, "classes": {1: "ball"},
    "config": {"fit": {"steps": 40}}, "counts": {"validation": {"scans": 6}},
    "recipe": {"modality": "MR"},
}  # fmt: skip


def told(mean, seed):
    draw = np.random.default_rng(seed).normal(0, 0.02, 30)
    return pd.DataFrame({"id": [f"c{i}" for i in range(30)], "patient": [f"p{i}" for i in range(30)],
                         "class": "ball", "dice": mean + draw})  # fmt: skip


@pytest.fixture(scope="module")
def found():
    tables = {}
    for k, n in enumerate((2, 4, 8)):
        tables["from scratch", n] = [told(0.5 + 0.1 * k, 0)]
        tables["ahead", n] = [told(0.6 + 0.1 * k, 1)]
        tables["behind", n] = [told(0.4 + 0.1 * k, 2)]
        tables["alike", n] = [told(0.5 + 0.1 * k, 0)]
    against = dict.fromkeys(["ahead", "behind", "alike"], "from scratch")
    return efficiency(tables, against, {DICE: 1, "dice, ball": 1}, n=1000)


def cost_of(arms):
    """The table of costs of arms by name: minutes of pretraining, its steps, and those asked for."""
    table = pd.DataFrame([(arm, *spent) for arm, spent in arms.items()],
                         columns=["arm", "pretraining, minutes", "pretraining, steps", WHOLE])  # fmt: skip
    return table.astype({"pretraining, steps": "Int64", WHOLE: "Int64"}).assign(kWh=None)


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
        "high": [0.1, 0.1, 0.1, -0.01], "estimate": [0.05, 0.06, 0, -0.05],
        "lowest run": [0.04, 0.05, -0.1, -0.07], "highest run": [0.06, 0.07, 0.1, -0.02],
    })  # fmt: skip
    against = dict.fromkeys(["ahead", "behind"], "from scratch")
    some = SimpleNamespace(
        baselines=against, differences=lambda: gains, counts=lambda arm: [2, 4, 8]
    )
    assert of_page.verdicts(some, set()) == [
        "ahead gains 0.050 and 0.060 with 2 and 4 labelled scans (the whole interval lies above 0; with 2 "
        "not after correction for 4 comparisons).",
        "behind loses 0.050 with 2 labelled scans (the whole interval lies below 0; not after correction "
        "for 4 comparisons).",
    ]


def test_two_patients_show_nothing_however_narrow_their_interval():
    tables = {("from scratch", 2): [told(0.5, 0).iloc[:2]], ("ahead", 2): [told(0.6, 0).iloc[:2]]}
    found = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)[DICE]
    assert found.differences()["low"][0] > 0
    assert of_page.verdicts(found, set())[0].startswith("Of ahead no gain and no loss is shown")


def test_a_study_in_which_training_from_scratch_finds_nothing_has_its_page(tmp_path, about):
    tables = {(arm, n): [told(0, 0).assign(dice=mean)]
              for arm, mean in (("from scratch", 0.0), ("ahead", 0.5)) for n in (2, 4)}  # fmt: skip
    figures = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)
    text = page.write(tmp_path, replace(about, figures=figures)).read_text()
    shares = text.partition("as a share of what")[2].partition("</table>")[0]
    assert shares.count("<td>not defined</td>") == 4 and "<td>&gt; 4</td>" in text


def test_classes_that_are_not_found_are_named(tmp_path, about):
    tables = {("from scratch", 2): [told(0.5, 0)], ("ahead", 2): [told(0.5, 0).assign(dice=0.01)]}
    figures = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1, "dice, ball": 1}, n=1000)
    of_ball = replace(about, figures=figures)
    assert "of some classes (ahead with 2 labels: ball)" in " ".join(page.cautions(of_ball))
    words = "Training has hardly begun: of some classes next to nothing is found yet"
    assert words in page.write(tmp_path, of_ball).read_text()
    assert words not in page.write(tmp_path, about).read_text()
    unlearnt = replace(of_ball, idle={("ahead", 2)})
    assert "of some classes" not in " ".join(page.cautions(unlearnt))


def test_it_is_told_how_long_pretraining_took_and_how_far_runs_lie_apart(tmp_path, about):
    text = page.write(tmp_path, about).read_text()
    assert "Pretraining took" not in text
    cost = cost_of({"from scratch": (None, None, None), "ahead": (3.0, 9, 9), "behind": (7.25, 9, 9),
                    "alike": (5.0, 9, 9)})  # fmt: skip
    tables = {(arm, 2): [told(mean, k) for k in range(3)]
              for arm, mean in (("from scratch", 0.5), ("ahead", 0.6), ("behind", 0.4))}  # fmt: skip
    against = dict.fromkeys(["ahead", "behind"], "from scratch")
    figures = efficiency(tables, against, {DICE: 1}, n=1000)
    text = page.write(tmp_path, replace(about, cost=cost, figures=figures)).read_text()
    assert "Pretraining took from 3.0 (ahead) to 7.2 minutes (behind)." in text
    assert "theirs from scratch by \N{MINUS SIGN}0.100 to +0.100." in text
    some = replace(about, figures=figures, cost=cost.assign(**{"pretraining, minutes": 3.0}))
    some = replace(some, idle={("behind", 2)})
    text = page.write(tmp_path, some).read_text()
    assert "Pretraining took" not in text and "by +0.100 to +0.100." in text
    text = page.write(tmp_path, replace(some, idle={("from scratch", 2)})).read_text()
    assert "theirs from scratch by" not in text


def test_it_is_told_whose_pretraining_the_minutes_cut_short(tmp_path, about):
    assert "cut pretraining short" not in page.write(tmp_path, about).read_text()
    cost = cost_of({"from scratch": (None,) * 3, "ahead": (3.0, 242, 1000), "behind": (3.0, 9, 8)})
    text = page.write(tmp_path, replace(about, cost=cost)).read_text()
    words = "The minutes given cut pretraining short: ahead made 242 of 1,000 steps. More may gain"
    assert words in text
    assert re.search(r"<td[^>]*>242</td>\s*<td[^>]*>1000</td>", text)


@pytest.mark.parametrize(
    ("draws", "some", "words", "advised"),
    [(3, True, "on different labelled scans", False), (1, True, "on the same labelled scans", True),
     (3, False, "on the same labelled scans", False)],
)  # fmt: skip
def test_draws_and_seeds_are_told_apart(tmp_path, about, draws, some, words, advised):
    tables = {(arm, 2): [told(0.5, k) for k in range(3)] for arm in ("from scratch", "ahead")}
    figures = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)
    text = page.write(tmp_path, replace(about, figures=figures, draws=draws, some=some)).read_text()
    assert f"the mean of 3 fine-tunings {words};" in text
    assert ("draws=3 and more tell" in text) == advised


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


def test_more_arms_than_colours_are_told_apart():
    arms = [f"arm {k}" for k in range(8)]
    tables = {(arm, n): [told(0.5, 0)] for arm in ("from scratch", *arms) for n in (2, 4)}
    found = efficiency(tables, dict.fromkeys(arms, "from scratch"), {DICE: 1}, n=1000)[DICE]
    left, right = of_page.curves(found, "Dice").axes
    for axis, n in ((left, 9), (right, 8)):
        lines = [line for line in axis.lines if not line.get_label().startswith("_")]
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(lines) == n


def test_settings_at_the_end_of_what_was_tried_are_named(tmp_path, about):
    trials = [{"optim": {"lr": lr, "name": name}} for lr, name in ((1, "a"), (2, "b"), (3, "c"))]
    chosen = {("ahead", 2): {0: 0.5, 1: 0.7, 2: 0.6}, ("ahead", 0): {0: 0.5, 1: 0.6, 2: 0.7},
              ("from scratch", 2): {0: 0.9, 1: 0.7, 2: 0.6}}  # fmt: skip
    more = replace(
        about, validations=chosen, trials=(trials, [{"optim": {"lr": k}} for k in (8, 7, 9)])
    )
    text = page.write(tmp_path, more).read_text()
    told_ends = re.findall(r"<tr><td>([^<]*)</td><td>(\w+)</td>.*<td>([^<]*)</td></tr>", text)
    assert [row for row in told_ends if row[0] in ("ahead", "from scratch")] == [
        ("ahead", "2", ""), ("ahead", "all", "optim.lr"), ("from scratch", "2", "")
    ]  # fmt: skip
    assert "one beyond it may be better" in text
    words = [{"optim": {"lr": "4e-3"}}, {"optim": {"lr": "8e-3"}, "task": {"size": [8, 8]}}]
    for trials, end in ((words, "optim.lr"), ([{"task": {"size": [n, n]}} for n in (8, 9)], "")):
        some = replace(
            more, validations={("ahead", 2): {0: 0.5, 1: 0.7}}, trials=(trials, [{}, {}])
        )
        assert f"<td>{end}</td></tr>" in page.write(tmp_path, some).read_text()
    smallest = replace(more, validations={("ahead", 2): {0: 0.7, 1: 0.5}}, trials=(words, [{}, {}]))
    assert "<td>optim.lr</td></tr>" in page.write(tmp_path, smallest).read_text()
    middle = replace(more, validations={("ahead", 2): {0: 0.5, 1: 0.7, 2: 0.6}})
    assert "one beyond it" not in page.write(tmp_path, middle).read_text()


def test_a_single_run_with_all_labels_is_told(tmp_path, about):
    tables = {(arm, n): [told(0.5, k) for k in range(3 if n < 8 else 1)]
              for arm in ("from scratch", "ahead") for n in (2, 8)}  # fmt: skip
    found = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)
    text = page.write(tmp_path, replace(about, figures=found)).read_text()
    assert "the mean of 3 fine-tunings on different labelled scans (with all of them: 1);" in text


def test_it_is_said_where_more_labels_did_not_help_training_from_scratch(tmp_path, about):
    words = "Training from scratch reaches less with most labels than with fewest"
    assert words not in page.write(tmp_path, about).read_text()
    tables = {(arm, n): [told(0.6 - 0.02 * n, 0)]
              for arm in ("from scratch", "ahead") for n in (2, 8)}  # fmt: skip
    found = efficiency(tables, {"ahead": "from scratch"}, {DICE: 1}, n=1000)
    assert words in page.write(tmp_path, replace(about, figures=found)).read_text()


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


def test_where_single_fine_tunings_disagree_with_a_gain_it_is_said(tmp_path, about):
    tables = {("from scratch", n): [told(0.5, 0), told(0.5, 0)] for n in (2, 4)}
    tables |= {("mixed", 2): [told(0.6, 0), told(0.49, 0)], ("mixed", 4): [told(0.6, 0)] * 2}
    found = efficiency(tables, {"mixed": "from scratch"}, {DICE: 1}, n=1000)
    *_, last = of_page.verdicts(found[DICE], set())
    assert last.startswith(
        "Single fine-tunings lie on both sides of 0 here (mixed with 2 labelled scans)"
    )
    assert last in page.write(tmp_path, replace(about, figures=found)).read_text()


def test_a_collapsed_backbone_and_few_patients_of_the_figure_are_told(about):
    said = page.cautions(replace(about, cards={"ahead": {"alarm": "all features are alike"}}))
    assert "The backbone of ahead was found collapsed: all features are alike." in said
    few = {name: replace(study, n_scored=4) for name, study in about.figures.items()}
    assert any(
        "classes is of 4 patients; intervals" in c
        for c in page.cautions(replace(about, figures=few))
    )


def test_of_numbers_and_masks_there_is_no_calibration_and_of_errors_no_share(
    tmp_path, about, found
):
    numbers = pd.DataFrame({"id": ["a", "b"], "patient": ["a", "b"], "truth": [1.0, 2.0],
                            "predicted": [1.5, 1.5], "usual": 1.5})  # fmt: skip
    for cases in (numbers, told(0.6, 1)):
        text = page.write(tmp_path, replace(about, cases={"ahead": cases})).read_text()
        assert ">Calibration<" not in text and "Score as a share" in text
    errors = {name: replace(study, better=-1) for name, study in found.items()}
    assert (
        "Score as a share" not in page.write(tmp_path, replace(about, figures=errors)).read_text()
    )
