import json

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import drop_weights
from tests.stages.runs.made import scored, studied
from tests.training.test_registry import CONFIG, made


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


def test_of_a_run_that_is_not_at_its_end_the_list_says_how_many_scans_it_learns_from(tmp_path):
    for name, labelled in (("four", 4), ("all", 0)):
        made(tmp_path / name, config={**CONFIG, "labelled": labelled}, card=None)
    call("runs", folder=tmp_path, out=tmp_path / "runs.csv")
    table = pd.read_csv(tmp_path / "runs.csv").set_index("run")
    assert table.loc["four", "labelled"] == 4 and pd.isna(table.loc["all", "labelled"])


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
