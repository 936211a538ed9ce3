import json
import os
import re

import pandas as pd

from medssl.data.processes import each
from medssl.stages import call
from medssl.training.claims import claimed
from medssl.training.study_folder import Study, write_end
from tests.stages.runs.made import gains, scored, studied


def state_of(folder):
    return Study.found(folder).state


def test_a_study_is_one_line_and_its_fine_tunings_are_listed_where_they_are_asked_for(
    tmp_path, capsys
):
    studied(tmp_path / "study")
    studied(tmp_path / "begun", scored=5)
    scored(tmp_path / "own", 0.5)
    call("runs", folder=tmp_path, out=tmp_path / "runs.csv")
    told = capsys.readouterr()
    shown = {line.split()[0]: line for line in told.out.splitlines()}
    assert list(shown) == ["run", "begun", "own", "study"]
    assert "study finished, 12/12, on heads with 2, all labels: voco; mae" in shown["study"]
    assert "study stopped, 5/12" in shown["begun"]
    assert f"medssl runs ls {tmp_path}/begun/finetune" in told.err
    table = pd.read_csv(tmp_path / "runs.csv").set_index("run")
    assert table.loc["study", "verb"] == "study" and table.loc["own", "verb"] == "finetune"
    call("runs", folder=tmp_path, verb="study", state="stopped")
    assert capsys.readouterr().out.splitlines()[0].startswith("begun  study")
    call("runs", folder=tmp_path / "study/finetune")
    assert len(capsys.readouterr().out.splitlines()) == 1 + 12
    assert call("runs", what="best", folder=tmp_path) == tmp_path / "own"
    told = capsys.readouterr().err
    assert f"not compared: {tmp_path}/study (a study: see {tmp_path}/study/report.html" in told
    assert f"not compared: {tmp_path}/begun (a study: give {tmp_path}/begun/finetune" in told


def test_a_study_that_is_to_grow_is_not_finished_and_shows_no_gains_of_before(tmp_path, capsys):
    folder = studied(tmp_path / "study")
    write_end(folder, [], gains(("voco", 2, 0.0141, 0.01, 0.02, 0.031, True)))
    asked = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**asked, "draws": 4}))
    call("runs", what="show", folder=folder)
    shown = capsys.readouterr().out
    assert "stopped, 12 of 15 fine-tunings" in shown and "0.014" not in shown
    assert "of before it was asked for more: the command goes on" in shown
    call("runs", folder=tmp_path)
    assert "study stopped, 12/15" in capsys.readouterr().out


def test_a_study_runs_while_any_of_its_work_is_claimed(tmp_path):
    folder = studied(tmp_path / "study", scored=5)
    mark = next(folder.glob("finetune/*/*/scored.json"))
    with claimed(mark):  # a process sees the locks of others only
        assert list(each(state_of, [folder], workers=1)) == ["running"]
    assert state_of(folder) == "stopped"
    with claimed(folder / "report.html"):
        assert list(each(state_of, [folder], workers=1)) == ["stopped"]


def test_a_study_is_shown_with_its_command_and_its_report(tmp_path, capsys):
    folder = studied(tmp_path / "study")
    write_end(folder, [], gains(("voco", 2, 0.0141, 0.01, 0.02, 0.031, True),
                                ("voco", 4, 0.1, 0.05, 0.2, 0.1, False),
                                ("=NA", 2, float("nan"), 0, 0, 0.1, True)))  # fmt: skip
    call("runs", what="show", folder=folder)
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    assert "voco: +0.014 (0.010 to 0.020; p 0.031) with 2, not judged, as next to nothing" in words
    assert "was learnt, with 4 =NA: not defined with 2" in words
    for words in ("finished, 12 of 12 fine-tunings", "voco; mae", f"{tmp_path}/study/report.html"):
        assert words in shown, words
    assert "damaged" not in shown and "WARNING" not in shown
    assert "heads (not found from here)" in shown and "3 draws (of all: one)" in shown


def test_a_study_keeps_its_date_and_its_cautions(tmp_path, capsys):
    folder = studied(tmp_path / "study")
    write_end(folder, ["Mind this."], gains())
    told = json.loads((folder / "study.json").read_text())
    os.utime(folder / "report.html", (0, 0))
    call("runs", what="show", folder=folder)
    shown = capsys.readouterr().out
    assert re.search("WARNING +Mind this.", shown) and f"fine-tunings; {told['date']}" in shown
    for damaged in ("[1]", "{", '{"cautions": 5}', '{"gains": [{"arm": 1}]}'):
        (folder / "study.json").write_text(damaged)
        call("runs", what="show", folder=folder)
        shown = capsys.readouterr().out
        assert "study.json cannot be read (" in shown and "fine-tunings; 1970" in shown
