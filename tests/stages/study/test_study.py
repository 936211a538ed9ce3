"""The study: arms, paired fine-tunings, choices on validation scans, resuming, and many at once."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from medssl.command_line import load, of
from medssl.config import checked_parts, flat
from medssl.errors import UserError
from medssl.evaluation.volumes import truth_sizes
from medssl.reports.study.told import WHOLE
from medssl.stages import call, pretrain, study
from medssl.training.checkpoint import read_card
from medssl.training.registry import find, read
from medssl.training.study_folder import Study
from tests.training.killing import begun, command, forked, warm

TABLES = ("table", "curve", "differences", "needed", "shares", "losses", "figures")


@pytest.fixture(scope="module")
def done(keys, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "study"
    assert call("study", **keys, out=out) == out / "report.html"
    return out


def test_every_arm_is_tuned_on_the_same_scans_for_the_same_steps(done):
    table = pd.read_csv(done / "table.csv")
    assert len(table) == 3 * 2 * 2 and set(table["arm"]) == {"from scratch", "voco", "mae"}
    assert (table.groupby(["arm", "labelled"])["trial"].nunique() == 1).all()
    for _, rows in table.groupby(["labelled", "draw"]):
        cards = [read_card(folder_of(done, row)) for _, row in rows.iterrows()]
        assert len(cards) == 3
        seen = [card["patients"]["train"] for card in cards]
        assert seen[0] == seen[1] == seen[2]
        assert {card["config"]["fit"]["steps"] for card in cards} == {6}
    starts = {
        arm: read_card(folder_of(done, rows.iloc[0]))["start"] for arm, rows in table.groupby("arm")
    }
    assert starts == {
        "from scratch": "from scratch", "voco": "pretrained with voco",
        "mae": "pretrained with conv_mae",
    }  # fmt: skip


def folder_of(done, row):
    name = f"{row['labelled']}-draw{row['draw']}-seed{row['seed']}-trial{row['trial']}"
    return done / "finetune" / row["arm"].replace(" ", "-") / name


def test_who_has_learnt_next_to_nothing_is_named_first(done, monkeypatch, tmp_path, capsys):
    out = shutil.copytree(done, tmp_path / "study")
    monkeypatch.setattr("medssl.stages.study.cells.nothing_learnt", lambda card: "nothing")
    (out / "report.html").unlink()
    page = call("study", **json.loads((out / "config.json").read_text()) | {"out": out}).read_text()
    said = page.partition("fine-tunings have learnt next to nothing (")[2].partition(")")[0]
    assert {"voco with 2 labels", "mae with 4 labels"} < set(said.split("; "))
    told = capsys.readouterr().err
    assert "voco is not judged with 2 and 4 labelled scans" in told
    assert "fine-tunings have learnt next to nothing (" in told.partition("remark: ")[2]


def test_validation_scans_choose_the_trial_and_no_other_is_scored(done):
    table = pd.read_csv(done / "table.csv")
    for (arm, count), rows in table.groupby(["arm", "labelled"]):
        told = {
            k: json.loads((folder_of(done, row) / "trained.json").read_text())["validation"]
            for row in [rows[rows["draw"] == 0].iloc[0]]
            for k, row in ((k, {**row, "trial": k}) for k in (0, 1))
        }
        assert rows["trial"].iloc[0] == max(told, key=told.get), (arm, count)
        other = {**rows.iloc[0], "draw": 0, "trial": 1 - rows["trial"].iloc[0]}
        assert not (folder_of(done, other) / "evaluation").exists()


def test_a_trial_without_a_validation_score_is_named(keys, done, tmp_path):
    out = shutil.copytree(done, tmp_path / "study")
    trained = out / "finetune/voco/2-draw0-seed0-trial1/trained.json"
    trained.write_text(json.dumps({**json.loads(trained.read_text()), "validation": None}))
    with pytest.raises(
        UserError, match="EMPTY .*voco/2-draw0-seed0-trial1: .*not defined.*one trial"
    ):
        call("study", **keys, out=out)


def test_gains_of_groups_are_written_where_they_are_asked_for(done, tmp_path):
    out = shutil.copytree(done, tmp_path / "study")
    asked = json.loads((out / "config.json").read_text()) | {"out": out}
    call("study", **asked | {"by": ["odd"]})
    found = pd.read_csv(out / "subgroups.csv")
    assert set(found["group"]) == {"odd"} and set(found["arm"]) == {"voco", "mae"}
    call("study", **asked)
    assert not (out / "subgroups.csv").exists()


def test_tables_agree_with_the_cases(done):
    table, cases = pd.read_csv(done / "table.csv"), pd.read_parquet(done / "cases.parquet")
    by = ["arm", "labelled", "draw", "seed"]
    means = cases.groupby([*by, "id"])["dice"].mean().groupby(by).mean()
    scores = table.set_index(by)["score"]
    assert (scores - means.reindex(scores.index)).abs().max() < 1e-12
    curve = pd.read_csv(done / "curve.csv").set_index(["arm", "labelled"])["estimate"]
    gains = pd.read_csv(done / "differences.csv")
    for row in gains.itertuples():
        gain = curve[row.arm, row.labelled] - curve["from scratch", row.labelled]
        assert (
            row.estimate == pytest.approx(gain)
            and 0 < row.p <= row[list(gains).index("p, corrected") + 1] <= 1
        )
    cost = pd.read_csv(done / "cost.csv").set_index("arm")
    assert (
        cost["fine-tunings"] == 4 + 2
    ).all()  # of two trials one is spare, with either number of labels
    assert (cost["fine-tuning, minutes"] > 0).all()
    assert cost["pretraining, steps"].dropna().tolist() == cost[WHOLE].dropna().tolist() == [3, 3]
    assert cost["pretraining, minutes"].isna().to_dict() == {
        "from scratch": True, "voco": False, "mae": False,
    }  # fmt: skip


def test_the_report_holds_its_parts_and_no_path(done):
    page = (done / "report.html").read_text()
    for part in (
        "Did pretraining help?", "Gain over training from scratch", "Labels saved at equal score",
        "When labels are few", "How settings were chosen", "Cost", "How to reproduce",
        "Pretraining with voco", "Single cases",
    ):  # fmt: skip
        assert part in page
    assert str(done.parent) not in page and "http" not in page.replace("http://www.w3.org", "")
    assert (done / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_to_type_to_make_it_again(done, tmp_path):
    page = html.unescape((done / "report.html").read_text())
    (typed,) = re.findall(r"<pre[^>]*><code>(cat > study.yaml.*?)</code>", page, re.S)
    written, _, more = typed.partition("medssl study study.yaml\n")
    subprocess.run(["sh", "-c", written], cwd=tmp_path, check=True)
    asked = json.loads((done / "config.json").read_text())
    again = load(study.Config, "study", [str(tmp_path / "study.yaml")]).model_dump(mode="json")
    assert again["store"] == Path(asked["store"]).name
    assert flat({**again, "store": "", "out": ""}) == flat({**asked, "store": "", "out": ""})
    assert len(more.splitlines()) == 2
    for line in more.splitlines():  # with the steps that were taken
        medssl, verb, *words = shlex.split(line)
        config = load(pretrain.Config, verb, words, pretrain.TABLES)
        config = checked_parts(config, pretrain.TABLES).model_dump(mode="json")
        asked = json.loads((done / "pretrain" / config["out"] / "config.json").read_text())
        assert all(config[key] == asked[key] for key in config.keys() - {"store", "out"})


def test_every_arm_is_shown_on_the_same_cases(done):
    drawn = {
        folder.parent.parent.parent.name: {p.name for p in folder.glob("*.png")}
        for folder in done.glob("finetune/*/2-*/evaluation/pictures")
    }
    assert len(drawn) == 3 and len(set(map(frozenset, drawn.values()))) == 1
    page = (done / "report.html").read_text()
    shown = [
        tuple(words.split(", ")[:2]) for words in re.findall(r'alt="prediction of (.*?)"', page)
    ]
    scans, arms = [scan for scan, _ in shown], ["from scratch", "voco", "mae"]
    assert [arm for _, arm in shown] == arms * (len(shown) // 3)
    assert scans[::3] == scans[1::3] == scans[2::3]
    sizes = truth_sizes(pd.read_parquet(next(done.glob("finetune/*/2-*/evaluation/cases.parquet"))))
    assert list(sizes[scans[::3]]) == sorted(sizes[scans[::3]])
    assert "smallest, the middle and the largest truth" in page


def test_weights_and_states_of_what_was_scored_are_not_kept(done):
    scored = [path.parent for path in done.glob("finetune/*/*/scored.json")]
    assert len(scored) == 12
    assert not any((folder / "model/weights.safetensors").exists() for folder in scored)
    assert not list(done.glob("finetune/*/*/checkpoints"))


def without(done, out, *arms):
    """A copy of a study in which nothing has been done for these arms, nor told of any."""
    shutil.copytree(done, out)
    for arm in arms:
        shutil.rmtree(out / "pretrain" / arm)
        shutil.rmtree(out / "finetune" / arm)
    for path in out.iterdir():
        if path.is_file() and path.name != "config.json":
            path.unlink()


def test_killed_anywhere_and_started_again_it_ends_in_the_same_tables(keys, done, tmp_path):
    out, asked, said = tmp_path / "study", tmp_path / "asked.yaml", tmp_path / "said"
    config = of(study.Config, "study", "", {**keys, "out": out})
    asked.write_text(json.dumps(config.model_dump(mode="json")))
    without(done, out, "mae")
    warm()
    marks = (
        "pretrain/mae/checkpoints",
        "finetune/mae/*/trained.json",
        "finetune/mae/*/scored.json",
    )
    for mark in marks:  # while pretraining, on trial, and while scoring
        child = begun(command, said, "study", str(asked))
        while not list(out.glob(mark)):
            assert os.waitpid(child, os.WNOHANG) == (0, 0), said.read_text()[-2000:]
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, mark
    assert forked(command, said, "study", str(asked)) == 0, said.read_text()[-2000:]
    for name in TABLES:
        assert (out / f"{name}.csv").read_bytes() == (done / f"{name}.csv").read_bytes(), name


def test_two_processes_share_the_work(keys, done, tmp_path, capsys):
    out = tmp_path / "study"
    without(done, out, "voco", "mae")
    call("study", **keys, out=out, jobs=2)
    for name in TABLES:
        assert (out / f"{name}.csv").read_bytes() == (done / f"{name}.csv").read_bytes(), name
    assert f"says how far it is in {out}/jobs/1.log" in capsys.readouterr().err
    assert (out / "jobs").stat().st_mode & 0o077 == 0
    log = (out / "jobs/1.log").read_text()
    assert "study: " in log or "pretrain " in log  # the other one did some of it


def test_the_command_that_is_shown_asks_for_the_same_study(done, capsys):
    call("runs", what="show", folder=done)
    shown = capsys.readouterr().out
    assert "finished, 12 of 12 fine-tunings" in shown and f"{done}/report.html" in shown
    words = shlex.split(shown.splitlines()[-1])
    assert words[:2] == ["medssl", "study"]
    again = load(study.Config, "study", words[2:]).model_dump(mode="json")
    assert again == json.loads((done / "config.json").read_text())


def test_what_was_not_kept_is_not_taken_for_damage(done, cohort, tmp_path):
    cells = [cell for cell in find(done / "finetune") if (cell / "scored.json").exists()]
    assert len(cells) == 12 and {read(cell).state for cell in cells} == {"finished"}
    kept = "finetune/*/*/model/weights.safetensors"
    assert not list(done.glob(kept))  # nor those of other trials
    with pytest.raises(
        UserError, match="were not kept, .*keep=true.*medssl runs show .*gives the command"
    ):
        call("predict", run=cells[0], scans=cohort / "images", out=tmp_path / "p")


def test_one_study_a_folder_and_what_is_pretrained_is_offered_to_another(keys, done):
    ready = f"backbones={done}/pretrain/voco,{done}/pretrain/mae"
    other = {**keys, "tolerance": 3.0}
    with pytest.raises(
        UserError, match=rf"tolerance \(there 1.0, now 3.0\).*{ready}, in place of methods"
    ):
        call("study", **other, out=done)


def test_a_rejected_trial_that_is_chosen_later_is_trained_again(keys, done, tmp_path):
    before = pd.read_csv(done / "table.csv")
    was = before[(before["arm"] == "voco") & (before["labelled"] == 2)]["trial"].iloc[0]
    trained = done / f"finetune/voco/2-draw0-seed0-trial{1 - was}/trained.json"
    shutil.copytree(
        done, tmp_path / "study"
    )  # runs know their own folder, so that it is done there
    try:
        trained.write_text(json.dumps({**json.loads(trained.read_text()), "validation": 2.0}))
        call("study", **keys, out=done)
        table = pd.read_csv(done / "table.csv")
    finally:
        shutil.rmtree(done)
        shutil.move(tmp_path / "study", done)
    chosen = table[(table["arm"] == "voco") & (table["labelled"] == 2)]
    assert (chosen["trial"] == 1 - was).all() and chosen["score"].notna().all()


def test_a_study_grows_by_more_draws_and_labels(keys, done, tmp_path):
    out = shutil.copytree(done, tmp_path / "study")
    before = {path: path.stat().st_mtime_ns for path in out.glob("finetune/*/*/scored.json")}
    assert len(before) == 12
    call("study", **{**keys, "draws": 3, "labelled": [2, 4, 6]}, out=out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    old, new = pd.read_csv(done / "table.csv"), pd.read_csv(out / "table.csv")
    assert len(new) == 3 * 3 * 3
    names = ["arm", "labelled", "draw"]
    both = old.merge(new, on=names)
    assert len(both) == 12 and (both["score_x"] == both["score_y"]).all()
    assert Study.found(out).asked == Study.found(out).done == 27


def test_a_damaged_file_is_named_and_its_fine_tuning_done_again(keys, done, tmp_path):
    out = tmp_path / "study"
    shutil.copytree(done, out)
    cell = next(path.parent for path in sorted(out.glob("finetune/voco/*/scored.json")))
    for name in ("trained.json", "evaluation/cases.parquet", "evaluation/metrics.json"):
        whole = (cell / name).read_bytes()
        (cell / name).write_bytes(whole[:10])
        with pytest.raises(UserError, match=f"{name}: cannot be read") as error:
            call("study", **keys, out=out)
        assert f"delete the folder {cell}" in error.value.fix
        (cell / name).write_bytes(whole)
    shutil.rmtree(cell)
    (out / "table.csv").unlink()
    call("study", **keys, out=out)
    assert (out / "table.csv").read_bytes() == (done / "table.csv").read_bytes()
