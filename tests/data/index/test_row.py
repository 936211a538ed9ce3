import json

import pytest

from medssl.data.index import read
from medssl.data.index.row import Row, each, join
from medssl.errors import UserError
from tests.faults import good


def test_records_hold_relative_paths(tmp_path):
    row = Row([tmp_path / "s" / "1.dcm", tmp_path / "s" / "2.dcm"], "dicom", remarks=["a", "b"])
    record = row.record(tmp_path)
    assert record["path"] == "s" and json.loads(record["files"]) == ["s/1.dcm", "s/2.dcm"]
    assert record["remarks"] == "a; b" and record["verdict"] == "used"


def test_join():
    assert join((3, 4)) == "3x4" and join((1.0, 0.123456, 2.5)) == "1.0x0.1235x2.5"


def test_each_turns_any_exception_into_a_refusal(tmp_path):
    def inspect_one(path):
        if path.name == "a":
            raise UserError("CUT", path, "too short", "mend it")
        raise ValueError("line one\nline two")

    rows = list(each([tmp_path / "a", tmp_path / "b"], "nifti", inspect_one))
    assert [(row.code, row.format) for row in rows] == [("CUT", "nifti"), ("UNREADABLE", "nifti")]
    assert rows[0].reason == "too short. Fix: mend it"
    assert "ValueError: line one line two" in rows[1].reason


def test_what_a_peer_library_quotes_from_a_header_is_left_out(tmp_path):
    path = good.film(tmp_path, PhotometricInterpretation="MUELLERHANS")
    with pytest.raises(UserError) as raised:
        read([path])
    assert "ValueError" in str(raised.value) and "MUELLER" not in str(raised.value)
