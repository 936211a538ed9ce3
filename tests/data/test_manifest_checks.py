import json

import pandas as pd
import pytest

from medssl.data.manifest_checks import check_table, checked_about
from medssl.errors import UserError

COLUMNS = ("id", "split", "files", "format", "label_mask", "shape", "verdict")


def table(**values) -> pd.DataFrame:
    good = {"id": "a", "split": "", "files": json.dumps(["x..y/a.nii"]), "format": "nifti",
            "shape": "4x5x6", "verdict": "used", "label_mask": "../m/a.nii"}  # fmt: skip
    return pd.DataFrame([good | values, good | {"id": "b"}], dtype="str")


def test_good_tables_pass(tmp_path):
    check_table(table(), COLUMNS, tmp_path)
    check_table(table(files=json.dumps(["a/../b.nii", "~x", "C:x"])), COLUMNS, tmp_path)
    check_table(table().iloc[:0], COLUMNS, tmp_path)
    check_table(table(files=json.dumps(["../masks/bad.nii"]), format=""), COLUMNS, tmp_path)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"id": "b"}, "MANIFEST"), ({"id": ""}, "MANIFEST"), ({"id": "../x"}, "MANIFEST"),
        ({"split": "all"}, "SPLIT"), ({"label_mask": "/x"}, "PATH"),
        ({"files": json.dumps(["/x"])}, "PATH"), ({"files": json.dumps(["a", "../x"])}, "PATH"),
        ({"files": json.dumps(["a/../../x"])}, "PATH"), ({"files": json.dumps(["a\0"])}, "PATH"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(tmp_path, values, code):
    with pytest.raises(UserError, match=f"^{code} "):
        check_table(table(**values), COLUMNS, tmp_path)
    for spoilt in (
        {"format": "evil"},
        {"shape": "abc"},
        {"verdict": "maybe"},
        {"label_mask": None},
    ):
        with pytest.raises(UserError, match="^MANIFEST "):
            check_table(table(**spoilt), COLUMNS, tmp_path)
    for files in ('["\\/etc/passwd"]', '["\\u002e\\u002e/x"]', '["../x', "7", None, "[7]"):
        with pytest.raises(UserError, match="^(PATH|MANIFEST) "):
            check_table(table(files=files), COLUMNS, tmp_path)
    with pytest.raises(UserError, match="columns are missing: split"):
        check_table(table().drop(columns="split"), COLUMNS, tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"schema": 2}', b'{"schema": 1}', b'{"schema": 1, "root": 7, "notes": []}',
     b'{"schema": 1, "root": "a\\u0000", "notes": []}', b'{"schema": 1, "root": ".", "notes": [7]}',
     b'{"schema": 1, "root": ".", "notes": [], "recode": {"1": "b"}}',
     b'{"schema": 1, "root": ".", "notes": [], "recode": {"1": 123456789}}',
     b'{"schema": 1, "root": ".", "notes": [], "recode": [1]}', b"[" * 9999],
)  # fmt: skip
def test_damaged_metadata_is_refused(tmp_path, content):
    assert (
        checked_about(b'{"schema": 1, "root": "..", "notes": ["n"]}', 1, tmp_path)["root"] == ".."
    )
    with pytest.raises(UserError, match="^MANIFEST "):
        checked_about(content, 1, tmp_path)
