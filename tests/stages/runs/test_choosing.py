import shutil

import pytest

from medssl.errors import UserError
from medssl.stages import call
from tests.stages.runs.made import scored, studied
from tests.training.test_registry import made


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
