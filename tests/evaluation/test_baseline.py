import json

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.evaluation.baseline import Baseline, truths
from tests.evaluation.test_summary import boxed, classified, segmented


def written(folder, classes=("liver",), **columns):
    pd.DataFrame({"id": ["a", "b"], **columns}).to_parquet(folder / "cases.parquet")
    (folder / "metrics.json").write_text(json.dumps({"tolerance_mm": 1.0, "classes": classes}))
    return Baseline.read(folder)


def test_the_same_question_passes_and_another_is_refused(tmp_path):
    baseline = written(tmp_path, **{"class": ["liver", "liver"]})
    baseline.check({"a", "b"}, {1: "liver"}, 1.0)
    for ids, classes, tolerance, cause in (
        ({"a", "c"}, {1: "liver"}, 1.0, "1 of the 2 asked for"),
        ({"a", "b"}, {1: "spleen"}, 1.0, "its classes are liver"),
        ({"a", "b"}, {1: "liver"}, 2.0, "tolerance of 1 mm, this one 2 mm"),
    ):
        with pytest.raises(UserError, match=cause):
            baseline.check(ids, classes, tolerance)
    scored = written(tmp_path, ["no", "yes"], score_no=[0.1, 0.2], score_yes=[0.9, 0.8])
    scored.check({"a", "b"}, {0: "no", 1: "yes"}, 1.0)
    with pytest.raises(UserError, match="MISMATCH"):
        scored.check({"a", "b"}, {0: "no", 1: "maybe"}, 1.0)


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(UserError, match="run `medssl evaluate` on the baseline"):
        Baseline.read(tmp_path)
    (tmp_path / "cases.parquet").write_bytes(b"torn")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="no readable"):
        Baseline.read(tmp_path)
    written(tmp_path)
    for text in ("[1]", '{"metrics": 3}'):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(UserError, match="no readable"):
            Baseline.read(tmp_path)


def held(cases, **metrics):
    return Baseline("here", cases, {"classes": ["ball"], "tolerance_mm": 1.0, **metrics})


TABLES = {
    "masks": lambda seed: segmented(seed / 100).assign(
        volume_ml_truth=[float(i) for i in range(16)]
    ),
    "classes": classified,
    "boxes": lambda seed: boxed(seed, told=[1.0, 0.3][seed]),
}


@pytest.mark.parametrize("kind", TABLES)
def test_of_the_same_cases_the_same_is_true_whatever_a_model_says(kind):
    one, two = (TABLES[kind](seed) for seed in (0, 1))
    mixed = two.sample(frac=1, random_state=0)
    held(one).check_kind(mixed)
    held(one).check_truths(mixed)
    assert held(one).question == held(mixed).question
    assert held(one).question != held(one, tolerance_mm=2.0).question
    assert held(one).question != held(one, classes=["cube"]).question
    assert held(one).question != held(one[one["id"] != one["id"].iloc[0]]).question
    for figure in ("dice", "predicted", "score", "score_yes"):
        assert figure not in truths(one)


@pytest.mark.parametrize(
    "kind, column, value, cause",
    [
        ("masks", "volume_ml_truth", 99.0, "of 1 cases it has another volume_ml_truth"),
        ("classes", "truth", "yes", "of 1 cases it has another truth"),
        ("boxes", "x1", 99.0, "of 1 cases it has another x1"),
        ("classes", "patient", "someone", "of 1 cases it has another patient"),
    ],
)
def test_other_labels_of_the_same_cases_are_refused(kind, column, value, cause):
    one, two = (TABLES[kind](seed) for seed in (0, 1))
    row = two.index[two["box"] == "truth"][0] if kind == "boxes" else two.index[0]
    two.loc[row, column] = value
    with pytest.raises(UserError, match=cause):
        held(one).check_truths(two)
    assert held(one).question != held(two).question


def test_another_kind_of_table_and_a_box_more_are_refused():
    with pytest.raises(UserError, match="scored by dice, mean of classes, others by auroc"):
        held(TABLES["masks"](0)).check_kind(classified(0))
    with pytest.raises(UserError, match="scored by ap at IoU 0.5, others by ap at IoU 0.1"):
        held(boxed(0)).check_kind(boxed(0).assign(iou=0.1))
    held(boxed(0)).check_kind(boxed(1))
    cases = TABLES["boxes"](0)
    more = cases[cases["box"] == "truth"].head(1).assign(x0=1.0)
    with pytest.raises(UserError, match="rows that are true"):
        held(cases).check_truths(pd.concat([cases, more]))


def test_a_scan_without_a_box_stays_one_when_a_model_finds_some_there():
    cases = boxed(0)
    empty = cases["box"] == "empty"
    found = cases.copy()
    first = cases[cases["box"] == "found"].iloc[0]
    for column in ("box", "class", "score", "x0", "y0", "x1", "y1"):
        found.loc[empty, column] = first[column]
    held(cases).check_truths(found)
    assert held(cases).question == held(found).question
    with pytest.raises(UserError, match="MISMATCH"):
        held(cases).check_truths(found[~empty])


def test_a_label_that_only_one_side_knows_is_another_truth():
    known = pd.DataFrame({"id": ["a", "b"], "patient": ["a", "b"], "truth_x": [1.0, 0.0],
                          "score_x": [0.5, 0.5]})  # fmt: skip
    unknown = known.assign(truth_x=[1.0, None])
    held(unknown).check_truths(unknown)
    for ours, theirs in ((known, unknown), (unknown, known)):
        with pytest.raises(UserError, match="of 1 cases it has another truth_x"):
            held(ours).check_truths(theirs)
