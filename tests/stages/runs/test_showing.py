import json
import shutil

import pytest

from medssl.errors import UserError
from medssl.stages import call
from tests.training.test_registry import made


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
