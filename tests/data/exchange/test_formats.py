"""Contracts of every format."""

import json
import os

import pytest

from medssl.data.exchange import FORMATS, format_of, recognised
from medssl.data.exchange.entry import Reading
from medssl.errors import UserError
from medssl.privacy import findings
from tests.data.exchange.equal import differences


@pytest.mark.parametrize("files", ["link", "copy"])
@pytest.mark.parametrize("cohort", ["volumes", "series", "films"])
def test_the_round_trip_keeps_everything(request, passed_on, format, cohort, files):
    before = request.getfixturevalue(cohort)
    if (format, cohort) == ("nnssl", "films"):
        with pytest.raises(UserError, match="UNSUPPORTED .*nnssl holds volumes only"):
            passed_on(before, format)
        return
    after, out = passed_on(before, format, files)
    assert differences(before, after) == []
    assert after.notes[0].endswith(f"{len(before.used)} scans listed")
    assert recognised(out) == format
    assert (
        any(path.is_symlink() for path in out.rglob("*.*"))
        == (files == "link" and not (cohort == "series" and format in ("bids", "nnunet", "nnssl")))
        or cohort == "series"
    )


def test_the_format_alone_is_read_too(volumes, passed_on, format):
    _, out = passed_on(volumes, format, "copy")
    (out / "medssl.json").unlink()
    after = format_of(format).read(out)
    assert len(after.used) == 4 and set(after.used["modality"]) == {"CT"}
    assert sorted(after.used["split"]) == sorted(volumes.used["split"])
    if format not in ("nnssl",):
        assert (after.used["label_mask"] != "").all()
    if format != "nnunet":  # which knows no patients and no labels of a scan
        assert after.used["patient"].nunique() == 2 and not after.guessed_patients
        assert not set(after.used["patient"]) & set(volumes.used["patient"])
        lesions = after.used["label_lesion"].astype(int)
        assert sorted(lesions) == sorted(volumes.used["label_lesion"])
        assert set(after.used["label_code"]) == {"00", "01", "02", "03"}


def test_what_is_edited_since_wins(volumes, passed_on):
    _, out = passed_on(volumes, "csv", "copy")
    text = (out / "scans.csv").read_text().replace(",val,", ",train,").replace(",test,", ",train,")
    (out / "scans.csv").write_text(text.replace(",02,", ",77,"))
    after = format_of("csv").read(out)
    assert set(after.used["split"]) == {"train"}
    assert set(after.used["label_code"]) == {"00", "01", "77", "03"}
    assert after.used["patient"].tolist() == volumes.used["patient"].tolist()


def test_what_is_written_tells_nobody_where_it_came_from_or_whose_it_is(series, passed_on, format):
    _, out = passed_on(series, format, "copy")
    for path in out.rglob("*"):
        if path.suffix in (".json", ".csv", ".tsv") or path.name in ("README", ".bidsignore"):
            text = path.read_text()
            assert "PHANTOM-" not in text and str(series.root) not in text
            kinds = {k for _, _, k in findings(text)} - {"file"}
            assert not kinds, (path, kinds)


def test_links_out_of_the_folder_need_leave(volumes, passed_on, format):
    _, out = passed_on(volumes, format)
    with pytest.raises(UserError, match="PATH .*4 paths lead out .*a link.*outside=true"):
        format_of(format).read(out)


def test_a_folder_that_holds_something_is_not_written_to(volumes, tmp_path, format):
    out = tmp_path / "Dataset001_x"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="EXISTS"):
        format_of(format).write(volumes, out)
    assert os.listdir(out) == ["mine.txt"]


def test_all_missing_scans_are_named_and_some_may_be_missing(volumes, passed_on, format):
    _, out = passed_on(volumes, format, "copy")
    gone = sorted(p for p in out.rglob("*.nii.gz") if "label" not in str(p))[:2]
    for path in gone:
        path.unlink()
    if format in ("bids", "nnunet"):  # their folders are the list; tables or masks tell the loss
        with pytest.raises(UserError, match="MISSING"):
            format_of(format).read(out)
        return
    with pytest.raises(UserError, match=f"2 of 4 .*{gone[0].name}, .*{gone[1].name}"):
        format_of(format).read(out)
    after = format_of(format).read(out, Reading(max_missing=0.5))
    assert len(after.used) == 2 and after.refused["code"].tolist() == ["MISSING"] * 2


def test_what_is_no_dataset_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a": 1}))
    for path in (tmp_path, tmp_path / "x.json", tmp_path / "none"):
        with pytest.raises(UserError, match="DATASET"):
            recognised(path)
    assert set(FORMATS) == {"nnssl", "nnunet", "datalist", "bids", "csv"}
