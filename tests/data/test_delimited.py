import pandas as pd
import pytest

from medssl.data.delimited import check_labels, check_names, read_table
from medssl.errors import UserError


def test_line_numbers_are_those_of_the_file(tmp_path):
    (tmp_path / "t.csv").write_text('id,note\n\na,"two\nlines"\n,\nb, x \n')
    table = read_table(tmp_path / "t.csv")
    assert table.index.tolist() == [3, 6] and table["note"].tolist() == ["two\nlines", "x"]


def test_text_is_not_interpreted(tmp_path):
    (tmp_path / "t.csv").write_text("id,y\n007,1e5\n1_000,TRUE\n")
    assert read_table(tmp_path / "t.csv").values.tolist() == [["007", "1e5"], ["1_000", "TRUE"]]


def test_what_a_spreadsheet_leaves(tmp_path):
    dates = pd.Series(["01.02.2020", "03.04.2021"], [2, 3], name="id")
    check_names(dates, tmp_path, mangled=True)
    mixed = pd.Series(["P1", "3-Apr", ""], [2, 3, 4], name="id")
    with pytest.raises(UserError, match="line 3: id is '3-Apr'"):
        check_names(mixed, tmp_path, empty=False, mangled=True)
    with pytest.raises(UserError, match="line 4: id is empty"):
        check_names(mixed, tmp_path)
    check_names(mixed, tmp_path, empty=False, mangled=True, known={"3-Apr"})
    check_names(pd.Series(["Mara-1", "Dec", "12-13", "A1E5"], name="id"), tmp_path, mangled=True)


def test_words_for_nothing_depend_on_the_column(tmp_path):
    check_labels(pd.Series(["none", "mass", "NA"], [2, 3, 4], name="y"), tmp_path)
    for values in (["1", "NA"], ["1.5", "-"], ["mass", "nan"], ["x", "-inf"], ["x", "#REF!"]):
        with pytest.raises(UserError, match="LABELS .*line 3: y is .*empty"):
            check_labels(pd.Series(values, [2, 3], name="y"), tmp_path)
