"""What else the page says of a study."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from medssl.evaluation.efficiency import efficiency
from medssl.reports import study as page
from tests.reports.study.made import DICE, cost_of, told


def section_of(path, title):
    """The text of a section of a page."""
    return path.read_text().partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]


def test_every_figure_stands_there_with_fewest_and_with_most_labels(tmp_path, about):
    text = section_of(page.write(tmp_path, about), "Every class, every figure")
    for kind in ("Scores", "Gains over training from scratch"):
        for count in (2, 8):
            assert f"{kind} with {count} labelled scans" in text
        assert f"{kind} with 4 labelled scans" not in text
    assert text.count("<td>Dice, mean of classes</td>") == 4  # the main one, too
    assert "All numbers of labels are in figures.csv." in text and "below its own" not in text
    ball = about.figures["dice, ball"]
    low = replace(ball, estimates={cell: -1.0 for cell in ball.estimates})
    some = replace(about, figures={**about.figures, "dice, ball": low})
    text = section_of(page.write(tmp_path, some), "Every class, every figure")
    assert "Below its own interval lies Dice, ball: with patients drawn twice" in text


def test_nothing_is_judged_of_the_field_by_classes_that_are_not_found(tmp_path, about):
    page_of = page.write(tmp_path, about)
    assert "not judged" not in section_of(page_of, "What the field has found")
    ball = about.figures["dice, ball"]
    unfound = replace(ball, estimates={cell: 0.01 for cell in ball.estimates})
    begun = replace(about, figures={**about.figures, "dice, ball": unfound})
    assert "not judged" in section_of(page.write(tmp_path, begun), "What the field has found")


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
    for title in ("Gain over training from scratch", "In short"):
        assert "hardly begun" in section_of(page.write(tmp_path, of_ball), title)
    assert "hardly begun" not in section_of(page.write(tmp_path, of_ball), "Cost")
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
