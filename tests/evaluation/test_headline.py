import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.headline import headline, headline_among, higher_is_better
from medssl.evaluation.summary import summary
from tests.evaluation.test_summary import boxed, classified, segmented

DRAW = np.random.default_rng(0)


def graded() -> pd.DataFrame:
    steps = {"truth_step": np.arange(30) % 3, "predicted_step": (np.arange(30) + 1) % 3}
    cases = classified(0).assign(**steps, untempered=0.7)
    names = np.array(["none", "some", "much"])
    scores = DRAW.dirichlet(np.ones(3), 30)
    cases = cases.drop(columns=["score_no", "score_yes"])
    return cases.assign(
        truth=names[steps["truth_step"]], predicted=names[steps["predicted_step"]],
        **{f"score_{n}": scores[:, i] for i, n in enumerate(names)},
    )  # fmt: skip


def labels() -> pd.DataFrame:
    about = classified(0)[["id", "patient"]]
    return about.assign(
        predicted="", **{f"score_{n}": DRAW.uniform(size=30) for n in "ab"},
        **{f"truth_{n}": (np.arange(30) % k == 0).astype(float) for n, k in (("a", 2), ("b", 3))},
    )  # fmt: skip


def numbers() -> pd.DataFrame:
    about = classified(0)[["id", "patient"]]
    return about.assign(
        truth=np.arange(30.0), predicted=np.arange(30) + DRAW.normal(size=30), usual=9.0
    )


def with_lesions() -> pd.DataFrame:
    return segmented().assign(hd95_mm=3.0, lesion_sensitivity=0.5, lesion_f1=0.5)


def of_two_classes() -> pd.DataFrame:
    cases = boxed(0)
    cases.loc[cases["id"].isin(["f1", "f2"]) & (cases["box"] != "empty"), "class"] = "cyst"
    return cases


KINDS = {
    "segmentation": (with_lesions, "dice, mean of classes", True),
    "classes": (lambda: classified(0).assign(untempered=0.8), "auroc", True),
    "labels": (labels, "auroc", True),
    "grades": (graded, "quadratic_kappa", True),
    "numbers": (numbers, "mean_absolute_error", False),
    "boxes": (lambda: boxed(0), "ap at IoU 0.5", True),
    "boxes of two classes": (of_two_classes, "ap at IoU 0.5", True),
    "boxes at another overlap": (lambda: boxed(0).assign(iou=0.1), "ap at IoU 0.1", True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_has_a_headline_among_its_figures(kind):
    made, name, higher = KINDS[kind]
    found = summary(made(), n=100)
    assert headline(made()) == (name, higher) and name in found
    assert headline_among(found) == (name, higher)
    assert {type(higher_is_better(figure)) for figure in found} == {bool}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_better_is_better(kind):
    """A table whose answers are made right has no figure that is worse by the direction said of it."""
    made, name, _ = KINDS[kind]
    worse, better = made(), improved(made())
    before, after = summary(worse, n=100), summary(better, n=100)
    for figure in after:
        gain = after[figure].estimate - before[figure].estimate
        if not np.isnan(gain):
            assert (gain if higher_is_better(figure) else -gain) >= -1e-9, figure
    assert abs(after[name].estimate - before[name].estimate) > 1e-3


def improved(cases: pd.DataFrame) -> pd.DataFrame:
    if "box" in cases:  # nothing false
        false = (cases["box"] == "found") & (cases["score"] == 0.99)
        return cases[~false]
    if "dice" in cases:
        return cases.assign(dice=1.0, nsd=1.0, hd95_mm=0.0, lesion_sensitivity=1.0, lesion_f1=1.0)
    if "usual" in cases:
        return cases.assign(predicted=cases["truth"])
    names = [c.removeprefix("score_") for c in cases if c.startswith("score_")]
    if "truth" not in cases:
        return cases.assign(**{f"score_{n}": cases[f"truth_{n}"] for n in names})
    right = {f"score_{n}": (cases["truth"] == n).astype(float) for n in names}
    better = cases.assign(predicted=cases["truth"], untempered=1.0, **right)
    return better.assign(predicted_step=cases["truth_step"]) if "truth_step" in cases else better


def test_of_other_figures_none_is_the_headline():
    assert headline_among(["surprise", "dice, liver"]) is None and headline_among([]) is None


def test_a_figure_that_is_not_known_is_not_guessed():
    assert higher_is_better("sensitivity, yes") and not higher_is_better("hd95_mm, liver")
    assert higher_is_better("sensitivity at 0.125 false a scan")
    with pytest.raises(KeyError):
        higher_is_better("surprise")
