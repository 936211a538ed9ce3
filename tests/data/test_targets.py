import pandas as pd
import pytest

from medssl.data.targets import (
    mask_classes,
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
