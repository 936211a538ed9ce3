import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medssl.evaluation.summary import (
    differences,
    figure_names,
    in_order_of,
    resampled_differences,
    summary,
)

N = {"n": 200, "seed": 1}


def segmented(shift: float = 0.0) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = [
        {"id": f"s{i}", "patient": f"p{i // 2}", "class": c, "dice": draw.uniform(0.5, 0.8) + shift,
         "nsd": np.nan if (i, c) == (0, "b") else 0.5 + shift}
        for i in range(8) for c in ("a", "b")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def classified(seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    truth = np.array(["no", "yes"] * 15)
    score = draw.uniform(size=30) + 0.4 * (truth == "yes")
    score = (score / 1.4).clip(0, 1)
    return pd.DataFrame(
        {"id": [f"f{i}" for i in range(30)], "patient": [f"p{i // 3}" for i in range(30)],
         "truth": truth, "predicted": np.where(score > 0.5, "yes", "no"),
         "score_no": 1 - score, "score_yes": score}
    )  # fmt: skip


def test_segmentation_has_the_mean_of_classes_and_every_class():
    cases = segmented()
    found = summary(cases, **N)
    assert list(found) == [
        f"{m}, {c}" for m in ("dice", "nsd") for c in ("mean of classes", "a", "b")
    ]
    assert found["dice, b"].estimate == pytest.approx(cases[cases["class"] == "b"]["dice"].mean())
    assert found["dice, a"].n_patients == 4 and found["dice, a"].n_cases == 8
    assert found["nsd, b"].n_left_out == 1 and found["nsd, mean of classes"].n_left_out == 0


def test_a_constant_shift_is_the_difference_of_every_figure_whatever_the_order():
    other = segmented().sample(frac=1, random_state=3)
    found = differences(segmented(0.125), other, **N)
    assert list(found) == list(summary(segmented(), **N))
    backwards = segmented().iloc[::-1]
    assert list(differences(backwards, other, **N)) == list(summary(backwards, **N))
    for interval in found.values():
        assert [interval.estimate, interval.low, interval.high] == pytest.approx([0.125] * 3)
    with pytest.raises(ValueError, match="different cases"):
        differences(segmented(), other.iloc[1:], **N)


def test_classification_has_areas_and_the_sensitivity_of_every_class():
    cases = classified(0)
    found = summary(cases, **N)
    yes = cases[cases["truth"] == "yes"]
    assert found["auroc"].estimate == roc_auc_score(cases["truth"] == "yes", cases["score_yes"])
    assert found["sensitivity, yes"].estimate == (yes["predicted"] == "yes").mean()
    assert found["auroc"].low < found["auroc"].estimate < found["auroc"].high


def test_classification_differences_are_paired_resample_by_resample():
    a, b = classified(0), classified(1)
    found, one, two = differences(a, b, **N), summary(a, **N), summary(b, **N)
    for name in ("auroc", "auprc", "sensitivity, no"):
        assert found[name].estimate == pytest.approx(one[name].estimate - two[name].estimate)
    same = differences(a, a.sample(frac=1, random_state=0), **N)
    assert all(i.low == i.high == i.estimate == 0 for i in same.values())


def test_of_two_classes_the_same_one_is_the_second_in_both_tables():
    a, b = classified(0), classified(1)
    turned = b[["id", "patient", "truth", "predicted", "score_yes", "score_no"]]
    assert summary(turned, **N)["auprc"] != summary(b, **N)["auprc"]
    assert differences(a, turned, **N) == differences(a, b, **N)
    assert summary(in_order_of(turned, a), **N) == summary(b, **N)


@pytest.mark.parametrize("kind", ["masks", "classes", "boxes"])
def test_differences_come_with_that_of_every_resample(kind):
    one, two = {
        "masks": lambda: (segmented(0.1).assign(dice=lambda t: t["dice"] ** 2), segmented()),
        "classes": lambda: (classified(0), classified(1)),
        "boxes": lambda: (boxed(0), boxed(1)),
    }[kind]()
    found, plain = resampled_differences(one, two, **N), differences(one, two, **N)
    assert {name: interval for name, (interval, _) in found.items()} == plain
    for interval, samples in found.values():
        known = samples[~np.isnan(samples)]
        assert len(samples) == N["n"]
        assert [interval.low, interval.high] == pytest.approx(
            list(np.quantile(known, [0.025, 0.975]))
        )


def boxed(seed: int, told: float = 0.9) -> pd.DataFrame:
    """Twelve films of six patients, half of them with one or two boxes."""
    draw, rows = np.random.default_rng(seed), []
    for i in range(12):
        about = {"id": f"f{i}", "patient": f"p{i // 2}", "iou": 0.5}
        low = np.random.default_rng(i).uniform(0, 50, (i % 3, 2))
        for x, y in low:
            rows.append(
                {
                    **about,
                    "box": "truth",
                    "class": "mass",
                    "x0": x,
                    "y0": y,
                    "x1": x + 9,
                    "y1": y + 9,
                }
            )
            if draw.random() < told:
                rows.append({**rows[-1], "box": "found", "score": draw.random()})
        if not len(low):
            rows.append({**about, "box": "empty", "class": ""})
    rows.append(
        {
            **about,
            "box": "found",
            "class": "mass",
            "score": 0.99,
            "x0": 0,
            "y0": 90,
            "x1": 9,
            "y1": 99,
        }
    )
    return pd.DataFrame(rows)


def test_boxes_are_counted_over_all_films_those_without_any_too():
    cases = boxed(0, told=1.0)
    found = summary(cases, **N)
    true, right = (cases["box"] == "truth").sum(), (cases["box"] == "found").sum() - 1
    assert found["froc_mean"].n_cases == 12 and found["froc_mean"].n_patients == 6
    # One false box, surer than all: a twelfth of a film each, under the lowest rate of an eighth.
    assert found["sensitivity at 0.125 false a scan"].estimate == right / true == 1
    # Precision rises to its end, and each recall has the best that comes at it or after it.
    assert found["ap at IoU 0.5"].estimate == pytest.approx(true / (true + 1))


def test_what_is_found_in_a_region_to_be_ignored_is_not_counted():
    cases = boxed(0, told=1.0)
    region = {**cases.iloc[-1].to_dict(), "box": "ignored", "x1": 99, "score": np.nan}
    found = summary(pd.concat([cases, pd.DataFrame([region])]), **N)
    assert found["ap at IoU 0.5"].estimate == 1 and found["froc_mean"].n_cases == 12
    assert found["sensitivity at 0.125 false a scan"].estimate == 1


def test_boxes_of_two_runs_are_compared_film_by_film():
    good, bad = boxed(0, told=1.0), boxed(1, told=0.4).sample(frac=1, random_state=0)
    gain = differences(good, bad, **N)["froc_mean"]
    alone = summary(good, **N)["froc_mean"].estimate - summary(bad, **N)["froc_mean"].estimate
    assert gain.estimate == pytest.approx(alone) and gain.low > 0
    with pytest.raises(ValueError, match="different cases"):
        differences(good, bad[bad["id"] != "f3"], **N)


def test_the_names_of_figures_are_those_of_the_summary():
    for table in (classified(1), boxed(1)):
        assert figure_names(table) == list(summary(table, n=100))
