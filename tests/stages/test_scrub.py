import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from medssl import cli
from medssl.errors import UserError
from medssl.stages import call, scrub
from medssl.stages.scrub import search
from tests.faults import good


@pytest.fixture
def folder(tmp_path):
    """A run with a leak in its report's table, in a name and, as it should be, in what stays local."""
    run = tmp_path / "run"
    for part in ("evaluation", "model", "jobs", "read"):
        (run / part).mkdir(parents=True)
    (run / "jobs/1.log").write_text("read /data/DOE/store")
    (run / "read/about.json").write_text(json.dumps({"items": ["DOE"]}))
    (run / "config.json").write_text(json.dumps({"store": "/data/DOE/store"}))
    (run / "model/card.json").write_text(json.dumps({"store": "store"}))
    pd.DataFrame({"id": ["case_1", "MUELLER"]}).to_csv(run / "evaluation/cases.csv", index=False)
    (run / "evaluation/DOE^J.txt").write_text("seen 1950-01-02")
    return run


def test_findings_are_listed_without_being_repeated(folder, tmp_path):
    (tmp_path / "names.txt").write_text("Mueller\n")
    words = ["scrub", str(folder), "--check", f"words={tmp_path / 'names.txt'}"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 2 and "PHI" in result.output
    assert "config.json (stays local): path, store" in result.output
    assert "cases.csv: known word as text, byte" in result.output
    assert "evaluation/<person>.txt: name, of the file or its folder" in result.output
    assert "evaluation/<person>.txt: date, line 1" in result.output
    for secret in ("MUELLER", "DOE", "1950"):
        assert secret not in result.output.replace(str(folder), "")


def test_the_copy_is_clean_and_the_original_left_alone(folder, tmp_path):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (tmp_path / "names.txt").write_text("Mueller\n")
    out = call("scrub", folder=folder, out=tmp_path / "out", words=tmp_path / "names.txt")
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == [
        "<person>.txt",
        "card.json",
        "cases.csv",
    ]
    assert (out / "evaluation/cases.csv").read_text() == "id\ncase_1\n<word>\n"
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    call("scrub", folder=out, check=True)
    with pytest.raises(UserError, match="holds files already"):
        call("scrub", folder=folder, out=out)


def test_bad_words_are_refused(folder, tmp_path):
    for words in ({}, {"check": True, "out": tmp_path / "o"}, {"out": folder / "in"},
                  {"check": True, "words": tmp_path / "nothing"}):  # fmt: skip
        with pytest.raises(UserError):
            call("scrub", folder=folder, **words)
    with pytest.raises(UserError, match="is no folder"):
        call("scrub", folder=tmp_path / "nothing", check=True)


def test_what_is_not_looked_into_is_a_finding_and_stays_out_of_the_copy(folder, tmp_path):
    good.film(folder, PatientName="Mustermann^Max")
    (folder / "x.mha").write_bytes(b"ObjectType = Image")
    (folder / "nosuffix").write_bytes(b"Mustermann")
    (folder / "linked.nii").symlink_to(tmp_path / "Doe_John_19800101.nii")
    told = {(f.file, f.kind) for f in search(folder) if f.kind == "not looked into"}
    names = ("a.dcm", "x.mha", "nosuffix", "linked.nii")
    assert told == {(name, "not looked into") for name in names}
    out = call("scrub", folder=folder, out=tmp_path / "out")
    assert not {p.name for p in out.rglob("*")} & set(names)


def test_words_are_read_whatever_saved_them(folder, tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfMueller\n")
    found = search(folder, scrub._words(tmp_path / "names.txt"))
    assert "known word as text" in {finding.kind for finding in found}
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(UserError, match="WORDS .*holds no word"):
        call("scrub", folder=folder, check=True, words=tmp_path / "names.txt")


def test_a_model_that_was_cleaned_still_predicts(segmented, cohort, tmp_path):
    out = call("scrub", folder=segmented / "tuned", out=tmp_path / "run")
    asked = {"scans": cohort / "images/case_1.nii.gz", "modality": "MR"}
    cleaned = call("predict", **asked, run=out, out=tmp_path / "cleaned")
    first = call("predict", **asked, run=segmented / "tuned", out=tmp_path / "first")
    assert (cleaned / "volumes.csv").read_text() == (first / "volumes.csv").read_text()
