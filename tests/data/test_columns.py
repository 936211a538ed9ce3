import pandas as pd
import pytest

from medssl.data.columns import typed, write
from medssl.errors import UserError


def test_numbers_stay_numbers_and_names_stay_names():
    assert typed(pd.Series(["1", "", "3"])).tolist() == [1, pd.NA, 3]
    assert typed(pd.Series(["1.5", "-2e3"])).tolist() == [1.5, -2000]
    for words in (["01", "2"], ["99999999999999999999999", "2"], ["1", "x"], ["", ""]):
        assert typed(pd.Series(words)).tolist() == words


@pytest.mark.parametrize(
    ("kind", "old", "new", "alike"),
    [("Int64", 1, 1.0, True), ("Float64", 1.5, 2, False), ("str", "01", "1", False),
     ("str", "1", 1, True), ("Int64", 1, "mass", False)],
)  # fmt: skip
def test_a_second_value_must_be_the_same(tmp_path, kind, old, new, alike):
    table = pd.DataFrame({"id": ["a"], "label_y": pd.array([old], kind)})
    if alike:
        write(table, "label_y", {0: new}, tmp_path)
    else:
        with pytest.raises(UserError, match="LABELS .*a has label_y"):
            write(table, "label_y", {0: new}, tmp_path)
