import json

import pytest

from medssl.errors import UserError
from medssl.reports import run_panel

SCORE = {"estimate": -0.5, "low": -0.6, "high": 0.7, "n_patients": 4, "n_cases": 8, "seed": 3}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "Smith_John" / "voco"
    (folder / "model").mkdir(parents=True)
    config = {
        "method": {"name": "<voco>"},
        "fit": {"steps": 9, "seed": 5},
        "store": "/home/smith/s",
    }
    (folder / "config.json").write_text(json.dumps(config))
    rows = [{"step": i, "loss": 1 / i, "spread": 0.1} for i in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    card = {"patients": {"pretrain": ["a", "b"]}, "backbone": {"name": "res_unet"}, "alarm": "flat"}
    (folder / "model/card.json").write_text(json.dumps(card))
    return folder


def test_a_run_is_shown_with_its_curve_and_without_paths(run):
    html = run_panel.of(run)._repr_html_()
    for part in ("voco: pretrain &lt;voco&gt;", "3 of 9", "res_unet", "flat", "patients</span> 2"):
        assert part in html
    assert html.count("<img") == 1 and "smith" not in html.lower() and "<table" not in html


def test_what_was_found_stands_with_interval_patients_and_seed(run):
    (run / "probe").mkdir()
    probe = {"knn": {"pretrained": SCORE, "untrained": SCORE, "difference": SCORE, "chance": 0.2}}
    (run / "probe/probe.json").write_text(json.dumps(probe))
    (run / "evaluation").mkdir()
    metrics = {"dice, liver": SCORE, "dice, mean of classes": {**SCORE, "estimate": float("nan")}}
    (run / "evaluation/metrics.json").write_text(json.dumps({"metrics": metrics}))
    html = run_panel.of(run).html
    minus = "\N{MINUS SIGN}"
    assert html.count(f"{minus}0.500 ({minus}0.600 to 0.700)") == 3 and "<td>4</td>" in html
    assert "Dice, mean of classes" in html and "not defined" in html and "liver" not in html


def test_one_that_has_just_begun_and_is_being_written_to(run):
    with open(run / "metrics.jsonl", "a") as log:
        log.write('{"step": 4, "lo')
    (run / "model/card.json").unlink()
    assert "3 of 9" in run_panel.of(run).html
    (run / "metrics.jsonl").unlink()
    assert "0 of 9" in run_panel.of(run).html


def test_other_folders_are_refused(tmp_path, run):
    with pytest.raises(UserError, match="RUN .*give the folder of a run"):
        run_panel.of(tmp_path)
    (run / "config.json").write_text("[]")
    with pytest.raises(UserError, match="RUN"):
        run_panel.of(run)
