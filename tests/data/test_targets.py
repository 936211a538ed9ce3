import numpy as np
import pandas as pd
import pytest

from medssl.data.targets import (
    answers,
    mask_classes,
    mask_remarks,
    read_targets,
    target_classes,
    target_numbers,
    with_masks,
    with_target,
)
from medssl.errors import UserError
from tests.data.test_store import make


def test_items_with_the_label_asked_for(tmp_path):
    grades = [{"label_grade": g} for g in ("a", "", "b")]
    store = make(tmp_path / "s", [(8, 8, 8)] * 3, extra=grades, masks=False)
    assert list(with_target(store, "label_grade").index) == ["case0", "case2"]
    for wrong in ("label_other", "id", "patient", ""):
        with pytest.raises(UserError, match="the store has label_grade"):
            with_target(store, wrong)
    with pytest.raises(UserError, match="none of its 3 scans has a label mask"):
        with_masks(store)


def test_mask_values_get_names(tmp_path):
    store = make(tmp_path / "s", [(8, 8, 8)])
    assert mask_classes(store, with_masks(store), {}) == {1: "class_1"}
    assert mask_classes(store, store.items, {2: "b", 1: "a"}) == {1: "a", 2: "b"}
    assert mask_classes(store, store.items, {1: "a"}, others=True) == {1: "a"}
    with pytest.raises(UserError, match="no mask holds a value"):
        mask_classes(store, store.items, {2: "b"}, others=True)
    for names in ({2: "b"}, {1: "a", 2: "a"}, {0: "air", 1: "a"}):
        with pytest.raises(UserError):
            mask_classes(store, store.items, names)


def test_classes_of_a_column():
    column = pd.Series([1.0, 0.0, 1.0], index=["x", "y", "z"], name="label_y")
    classes = target_classes(column)
    assert classes == {0: "0", 1: "1"}
    assert target_numbers(column, classes) == {"x": 1, "y": 0, "z": 1}
    assert target_numbers(pd.Series({"x": "new"}), classes) == {}
    with pytest.raises(UserError, match="one class only"):
        target_classes(column[:1])
    with pytest.raises(UserError, match="20 values for 20 training scans: too many"):
        target_classes(pd.Series([i / 7 for i in range(20)], name="label_age"))


def test_what_each_kind_of_answer_reads():
    items = pd.DataFrame(
        {"label_a": ["1", "yes", "", "0"], "label_b": ["", "false", "", "TRUE"],
         "label_age": [30.0, 41.5, np.nan, 60.0], "label_grade": ["10", "2", "2", "9"]},
        index=list("wxyz"),
    )  # fmt: skip
    both = ["label_a", "label_b"]
    assert answers("labels", items, both, {}) == {0: "a", 1: "b"}
    labels = read_targets("labels", items, both, {})
    assert list(labels) == ["w", "x", "z"]
    assert labels["w"][0] == 1 and np.isnan(labels["w"][1]) and labels["z"].tolist() == [0, 1]
    assert answers("number", items, ["label_age"], {}) == {0: "age"}
    assert read_targets("number", items, ["label_age"], {}) == {"w": 30, "x": 41.5, "z": 60}
    grades = answers("grades", items, ["label_grade"], {})
    assert grades == {0: "2", 1: "9", 2: "10"}  # as numbers, not as words
    assert read_targets("grades", items, ["label_grade"], grades) == {
        "w": 2,
        "x": 0,
        "y": 0,
        "z": 1,
    }
    assert answers("class", items, ["label_grade"], {}) == {0: "10", 1: "2", 2: "9"}


def test_columns_that_do_not_answer_are_refused():
    items = pd.DataFrame(
        {"label_word": ["mild", "none", "none"], "label_age": ["30", "old", "5"]}, index=list("xyz")
    )
    with pytest.raises(UserError, match="'old' of y"):
        answers("number", items, ["label_age"], {})
    with pytest.raises(UserError, match="0, 1, yes or no"):
        answers("labels", items, ["label_age"], {})
    with pytest.raises(UserError, match="whose order is not known.*classes="):
        answers("grades", items, ["label_word"], {})
    assert answers("grades", items, ["label_word"], {5: "mild", 1: "none"}) == {
        0: "none",
        1: "mild",
    }
    assert answers("class", items, ["label_word"], {0: "none", 1: "mild"})[1] == "mild"
    with pytest.raises(UserError, match="does not name"):
        answers("grades", items, ["label_word"], {0: "none"})
    with pytest.raises(UserError, match="needs two classes"):
        answers("class", items[1:2].assign(label_word="none"), ["label_word"], {0: "none"})
    with pytest.raises(UserError, match="2 columns, this task answers one"):
        answers("class", items, ["label_word", "label_age"], {})


def test_values_that_are_no_class_are_remarked_unless_they_are_expected():
    class Shelf:
        def foreground(self, item):
            return np.array([[1, 0, 0], [4, 0, 1]] if item == "a" else []).reshape(-1, 3)

    items = pd.DataFrame(index=["a", "b"])
    empty = "1 of 2 masks are empty: all background (b)"
    said = mask_remarks(Shelf(), items, {1: "liver"}, strict=False)
    assert said[0] == empty and "1 of 2 masks hold [4], which are no class" in said[1]
    assert mask_remarks(Shelf(), items, {1: "liver"}, strict=False, expected=True) == [empty]
    with pytest.raises(UserError, match="holds"):
        mask_remarks(Shelf(), items, {1: "liver"}, strict=True)
