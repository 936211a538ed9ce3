import pandas as pd
import pytest

from medssl.data.delimited import check_labels, check_names, check_zeros, read_table
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


def test_zeros_that_a_spreadsheet_took_away_are_told_by_line(tmp_path):
    cut = pd.Series(["12", "P7", "13"], [2, 3, 4], name="id")
    with pytest.raises(UserError, match="line 2: id is '12', a scan is called '0012'"):
        check_zeros(cut, {"0012", "0014"}, tmp_path)
    check_zeros(cut, {"120", "case_12", "0014"}, tmp_path)


def test_names_that_became_days_are_refused_among_words(tmp_path):
    with pytest.raises(UserError, match="line 3: gene is '2-Mar', a date among words"):
        check_labels(pd.Series(["TP53", "2-Mar"], [2, 3], name="gene"), tmp_path)
    check_labels(pd.Series(["2-Mar", "", "7-Sep"], [2, 3, 4], name="day"), tmp_path)
    check_labels(pd.Series(["grade 2", "2020-03-02"], [2, 3], name="note"), tmp_path)
