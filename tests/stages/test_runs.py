import json
import os
import re
import shutil

import pandas as pd
import pytest

from medssl.data.processes import each
from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import drop_weights
from medssl.training.claims import claimed
from medssl.training.study_folder import Study, write_end
from tests.training.test_registry import CARD, CONFIG, EVALUATION, made


def scored(folder, dice, ids="abc", classes=("ball",), split="test", **more):
    """A run whose evaluation says one Dice of every case."""
    figure = {"low": dice - 0.1, "high": dice + 0.1, "n_patients": len(ids), "n_cases": len(ids)}
    names = ["dice, mean of classes", *(f"dice, {c}" for c in classes), "hd95_mm, mean of classes"]
    metrics = {name: {**figure, "estimate": dice} for name in names}
    about = {"metrics": metrics, "classes": list(classes), "split": split, "tolerance_mm": 1.0}
    rows = [
        {"id": i, "patient": i, "class": c, "dice": dice, "volume_ml_truth": 1.0}
        for i in ids for c in classes
    ]  # fmt: skip
    card = {**CARD, "classes": dict(enumerate(classes, 1)), **more.pop("card", {})}
    config = {**CONFIG, "scans": {"train": "t", "validation": "v"}, **more.pop("config", {})}
    made(folder, config, card, {**EVALUATION, **about, **more})
    pd.DataFrame(rows).to_parquet(folder / "evaluation/cases.parquet")
    return folder


def test_the_list_tells_of_every_run(segmented, tmp_path, capsys):
    assert call("runs", folder=segmented, out=tmp_path / "runs.csv") == tmp_path / "runs.csv"
    table = pd.read_csv(tmp_path / "runs.csv").set_index("run")
    assert {"voco", "scratch", "tuned"} <= set(table.index)
    tuned = table.loc["tuned"]
    assert (tuned["verb"], tuned["what"], tuned["state"]) == (
        "finetune",
        "segmentation",
        "finished",
    )
    assert tuned["from"] == "voco, pretrained with voco" and (tuned["steps"], tuned["asked"]) == (
        60,
        60,
    )
    told = json.loads((segmented / "tuned/evaluation/metrics.json").read_text())["metrics"]
    figure = told["dice, mean of classes"]
    assert tuned["figure"] == "test dice, mean of classes"
    assert [tuned[k] for k in ("estimate", "low", "high")] == [
        pytest.approx(figure[k]) for k in ("estimate", "low", "high")
    ]
    assert table.loc["voco", "verb"] == "pretrain" and table.loc["voco", "what"] == "voco"
    shown = capsys.readouterr().out
    assert f"mean Dice {tuned['validation']:.3f}" in shown
    assert "segmentation: ball" in shown and f"test dice {figure['estimate']:.3f} (" in shown


def test_the_list_is_filtered_and_sorted(tmp_path, capsys):
    for name, score in (("a", 0.3), ("b", 0.7), ("c", 0.5)):
        scored(tmp_path / name, 1 - score, card={"validation": score})
    made(tmp_path / "d", config={"fit": {"steps": 20}, "method": {"name": "voco"}})
    made(tmp_path / "e", config="{")

    def names(**asked):
        call("runs", folder=tmp_path, **asked)
        lines = capsys.readouterr().out.splitlines()[1:]
        return [line.split()[0] for line in lines if not line.startswith(" ")]

    assert names() == list("abcde")
    assert names(task="segmentation") == list("abc") == names(verb="finetune")
    assert names(method="voco") == ["d"] and names(state="damaged") == ["e"]
    assert names(sort="validation") == list("bcdea")
    assert names(sort="figure", task="segmentation") == list("acb")
    with pytest.raises(UserError, match=r"5 runs .*finetune segmentation.*none that was asked for"):
        call("runs", folder=tmp_path, task="detection")
    with pytest.raises(UserError, match="0 runs"):
        call("runs", folder=tmp_path / "a/model")
    with pytest.raises(UserError, match="no folder"):
        call("runs", folder=tmp_path / "nowhere")


STUDY = {
    "store": "/data/heads", "methods": ["voco"], "backbones": ["/runs/mae"], "arms": {}, "only": [],
    "labelled": [2, 0], "draws": 3, "seeds": 1, "trials": [{"optim": {"lr": 0.004}}, {}],
    "finetune": {"preset": "few_labels", "fit": {"steps": 80}}, "out": "/x",
}  # fmt: skip


def studied(folder, scored=12):
    """A study of three arms, with 2 labels in three draws and with all in one: 12 fine-tunings."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(STUDY))
    places = [(a, f"{c}-draw{d}-seed0-trial0") for a in ("from-scratch", "voco", "mae")
              for c, d in (("2", 0), ("2", 1), ("2", 2), ("all", 0))]  # fmt: skip
    for arm, name in places[:scored]:
        run = made(folder / "finetune" / arm / name)
        (run / "scored.json").write_text("{}")
    if scored == len(places):
        (folder / "report.html").touch()
    return folder


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


def state_of(folder):
    return Study.found(folder).state


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


def gains(*rows):
    columns = ["arm", "labelled", "estimate", "low", "high", "p, corrected", "judged"]
    return pd.DataFrame(rows, columns=columns)


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


def test_what_all_runs_share_is_told_once_where_lines_would_be_too_wide(tmp_path, capsys):
    names = {"classes": ("a long organ of the abdomen", "another one", "a third")}
    config = {"backbone": "runs/voco"}
    long = "an-arm-of-a-study-whose-name-is-long"
    for name, n in ((f"{long}/16-draw0", 16), (f"{long}/2-draw0", 2), (f"{long}/2-draw1", 2)):
        scored(tmp_path / name, 0.5, config=config, card={"trained_on": n}, **names)
    call("runs", folder=tmp_path)
    first, head, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "all 3 runs: segmentation: a long organ of the abdomen, another one, a third"
    )
    assert head.split() == ["run", "labelled", "validation", "figure"]
    assert [row.split()[:2] for row in rows] == [
        [f"{long}/2-draw0", "2"], [f"{long}/2-draw1", "2"], [f"{long}/16-draw0", "16"]
    ]  # fmt: skip


def test_runs_are_chosen_by_how_many_labels_they_learnt_from(tmp_path, capsys):
    for name, n, score in (("a", 2, 0.3), ("b", 2, 0.4), ("c", 20, 0.7)):
        scored(tmp_path / name, 0.5, card={"trained_on": n, "validation": score})
    call("runs", folder=tmp_path, labelled=2)
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[1:]] == ["a", "b"]
    assert call("runs", what="best", folder=tmp_path, labelled=2) == tmp_path / "b"
    assert "CAUTION" not in capsys.readouterr().err
    studied(tmp_path / "a study")
    with pytest.raises(
        UserError, match="EMPTY .*on 2, 20 labelled scans.*lie in '.*a study/finetune'"
    ):
        call("runs", folder=tmp_path, labelled=3)


def test_a_score_that_is_no_number_is_never_the_best(tmp_path, capsys):
    for name, score in (("a", 0.1), ("b", float("nan")), ("c", 0.9)):
        scored(tmp_path / name, 0.5, card={"validation": score})
    assert call("runs", what="best", folder=tmp_path) == tmp_path / "c"
    assert f"not compared: {tmp_path}/b (it has no validation score)" in capsys.readouterr().err


def test_it_is_said_of_a_run_whose_weights_were_not_kept(tmp_path, capsys):
    run = scored(tmp_path / "a", 0.5, card={"validation": 0.3})
    call("runs", what="best", folder=tmp_path)
    assert "not kept" not in capsys.readouterr().err
    drop_weights(run)
    assert call("runs", what="best", folder=tmp_path) == run
    assert "the weights were not kept" in capsys.readouterr().err
    call("runs", what="show", folder=run)
    shown = " ".join(capsys.readouterr().out.split())
    assert "the weights were not kept, the command makes them again; they were" in shown


def test_of_equally_good_runs_the_first_by_number_is_given(tmp_path, capsys):
    for name in ("16-draw0", "2-draw0"):
        scored(tmp_path / name, 0.5, card={"validation": 0.4})
    assert call("runs", what="best", folder=tmp_path) == tmp_path / "2-draw0"
    assert "several are equally good" in capsys.readouterr().err


def test_of_many_runs_the_best_are_named_and_the_others_counted(tmp_path, capsys):
    for n in range(12):
        scored(tmp_path / f"r{n}", 0.5, card={"validation": n / 20})
    assert call("runs", what="best", folder=tmp_path) == tmp_path / "r11"
    said = capsys.readouterr().err
    assert f"{tmp_path}/r2\n" in said and f"{tmp_path}/r1\n" not in said
    assert "and 2 more, down to 0.0000" in said


def test_the_list_is_as_wide_as_a_terminal(tmp_path, capsys):
    names = {"classes": ("a long organ of the abdomen", "another one", "a third")}
    scored(tmp_path / "organs/few_labels", 0.5, config={"backbone": "runs/voco"}, **names)
    config = {"fit": {"steps": 9}, "method": {"name": "global_contrast"}}
    made(tmp_path / "voco", config, logged=4, checkpoint=4)
    studied(tmp_path / "study")
    call("runs", folder=tmp_path)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4 and max(map(len, shown)) <= 120
    assert "test dice 0.500 (0.400 to 0.600)" in shown[1] and "stopped 4/9" in shown[3]


def test_damaged_folders_are_listed_with_the_reason(tmp_path, capsys):
    made(tmp_path / "good")
    made(tmp_path / "torn", config='{"fit": ')
    made(tmp_path / "half", card=None, logged=0, checkpoint=0)
    made(tmp_path / "card", card='{"kind"')
    call("runs", folder=tmp_path)
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "config.json cannot be read" in shown["torn:"]
    assert "damaged" in shown["card"] and "model/card.json cannot be read" in shown["card:"]
    assert "stopped 0/20" in shown["half"] and "half:" not in shown
    for name in ("torn", "card", "half"):
        call("runs", what="show", folder=tmp_path / name)
    assert "cannot be read" in capsys.readouterr().out


def test_the_best_is_chosen_by_validation_whatever_the_test_cases_say(tmp_path, capsys):
    scored(tmp_path / "a", 0.9, card={"validation": 0.3})
    scored(tmp_path / "b", 0.2, card={"validation": 0.7})
    assert call("runs", what="best", folder=tmp_path) == tmp_path / "b"
    said = capsys.readouterr().err
    assert "by validation mean Dice on scans of the same 1 patients" in said
    assert "no test case had a say" in said and said.index("/b") < said.index("/a")
    assert call("runs", what="best", folder=tmp_path, figure="test") == tmp_path / "a"
    said = capsys.readouterr().err
    assert "CAUTION" in said and "dice, mean of classes of the same 3 cases of test" in said
    # Of distances, the lower one.
    asked = {"what": "best", "folder": tmp_path, "figure": "test hd95_mm, mean of classes"}
    assert call("runs", **asked) == tmp_path / "b"
    assert "lower is better" in capsys.readouterr().err
    with pytest.raises(UserError, match="figure='test dice, ball'"):
        call("runs", what="best", folder=tmp_path, figure="dice, ball")
    with pytest.raises(
        UserError, match="no evaluation gives it. .* dice, mean of classes; dice, ball"
    ):
        call("runs", what="best", folder=tmp_path, figure="test dice")


def test_runs_of_other_numbers_of_labels_are_ranked_with_a_caution(tmp_path, capsys):
    for name, n, score in (("few", 2, 0.3), ("many", 20, 0.7)):
        scored(tmp_path / name, 0.5, card={"trained_on": n, "validation": score})
    assert call("runs", what="best", folder=tmp_path) == tmp_path / "many"
    said = capsys.readouterr().err
    assert f"{tmp_path}/few (2 labelled scans)" in said
    assert "CAUTION: they learnt from 2, 20 labelled scans" in said and "labelled=2" in said
    scored(tmp_path / "other", 0.5, card={"trained_on": 20, "validation": 0.1})
    shutil.rmtree(tmp_path / "few")
    call("runs", what="best", folder=tmp_path)
    assert "labelled scans" not in capsys.readouterr().err


def test_runs_of_other_questions_are_not_compared(tmp_path, capsys):
    scored(tmp_path / "a", 0.5, card={"validation": 0.3})
    scored(tmp_path / "b", 0.6, card={"validation": 0.4})
    others = {
        "classes": {"classes": ("ball", "cube")},
        "scans": {"config": {"scans": {"validation": "w"}}},
        "recipe": {"card": {"recipe": {"spacing": [2, 2, 2]}, "validation": 0.99}},
        "target": {"card": {"target": ["label_x"]}},
    }
    for name, more in others.items():
        scored(tmp_path / f"other/{name}", 0.9, **more)
    made(tmp_path / "voco", config={"fit": {"steps": 20}, "method": {"name": "voco"}})
    scored(tmp_path / "none", 0.9, card={"validation": None})
    made(tmp_path / "torn", card="{")
    assert call("runs", what="best", folder=tmp_path) is None
    told = capsys.readouterr()
    assert f"{tmp_path}/b" in told.out.splitlines() and f"{tmp_path}/a" not in told.out.splitlines()
    assert len(told.out.splitlines()) == 5 and "these are 5 kinds" in told.err
    assert f"not compared: {tmp_path}/voco (without labels" in told.err
    assert f"not compared: {tmp_path}/none (it has no validation score" in told.err
    assert f"not compared: {tmp_path}/torn (model/card.json cannot be read" in told.err


def test_by_test_cases_only_the_same_ones_are_compared(tmp_path, capsys):
    scored(tmp_path / "a", 0.5)
    scored(tmp_path / "b", 0.6)
    scored(tmp_path / "c", 0.9, ids="abd")
    scored(tmp_path / "d", 0.95, trained_on_held_out_patients={"train": 1})
    scored(tmp_path / "e", 0.95, weights_sha256="of others")
    made(tmp_path / "f")
    assert call("runs", what="best", folder=tmp_path, figure="test") is None
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"{tmp_path}/b", f"{tmp_path}/c"]
    assert "/d (scored patients had been trained on" in told.err
    assert "/e (the evaluation is of other weights" in told.err
    assert f"/f (it has no evaluation: medssl evaluate {tmp_path}/f" in told.err
    with pytest.raises(UserError, match="no run has a test figure"):
        call("runs", what="best", folder=tmp_path / "f", figure="test")


def test_a_run_is_shown_with_the_command_that_makes_it_again(segmented, cohort, capsys):
    call("runs", what="show", folder=segmented / "tuned")
    shown = capsys.readouterr().out
    told = json.loads((segmented / "tuned/evaluation/metrics.json").read_text())["metrics"]
    dice = told["dice, ball"]
    for words in (
        "finetune segmentation", "finished, 60 of 60 steps", "voco, pretrained with voco", "1 ball",
        "trained on 4 scans of ", "pretrained on 6 scans of 3 patients", "spacing 1.2x1.2x1.2 mm",
        "preset few_labels, but for", "loss ", "of test, 1 patient, 95 % intervals over patients",
        "whose validation mean Dice was 0.", "validation mean Dice 0.",
        f"{dice['estimate']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})",
        "The split has 1 patient; intervals from fewer than 10 patients are too narrow",
    ):  # fmt: skip
        assert words in shown, words
    card = (segmented / "tuned/model/card.md").read_text()
    main = f"| test Dice, mean of classes | {dice['estimate']:.3f} |"
    assert "| classes | 1 ball |" in card and main in card
    assert "without figures of its own" not in card
    line = next(line for line in shown.splitlines() if line.startswith("medssl finetune"))
    assert line.endswith(f"out={segmented}/tuned") and f"store={cohort}/out/store" in line
    call("runs", what="show", folder=segmented / "voco")
    shown = capsys.readouterr().out
    assert (
        "spread" in shown
        and "rank" in shown
        and "at step 6" in shown
        and "medssl pretrain voco" in shown
    )


def test_the_command_shown_is_that_of_the_run(segmented, tmp_path, capsys):
    from medssl import cli

    call("runs", what="show", folder=segmented / "tuned")
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.startswith("medssl finetune"))
    cli.execute("finetune", line.split()[2:])  # goes on with the run that is there: the same config
    assert str(segmented / "tuned") in capsys.readouterr().out


def test_an_evaluation_of_weights_before_is_told(segmented, tmp_path, capsys):
    shutil.copytree(segmented / "tuned", tmp_path / "tuned")
    card = json.loads((tmp_path / "tuned/model/card.json").read_text())
    (tmp_path / "tuned/model/card.json").write_text(json.dumps({**card, "weights_sha256": "other"}))
    call("runs", what="show", folder=tmp_path / "tuned")
    shown = capsys.readouterr().out
    assert "evaluation is of other weights" in shown
    assert f"medssl evaluate {tmp_path}/tuned" in shown
    call("runs", what="show", folder=segmented / "tuned")
    assert "other weights" not in capsys.readouterr().out


def test_what_is_no_run_cannot_be_shown(tmp_path):
    with pytest.raises(UserError, match="RUN .*finds them"):
        call("runs", what="show", folder=tmp_path)
    made(tmp_path / "arm/good")
    with pytest.raises(UserError, match="RUN .*one of the 1 in it, such as .*arm/good"):
        call("runs", what="show", folder=tmp_path / "arm")
