import json

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.training.card import (
    CARD_VERSION,
    INTENDED,
    as_markdown,
    card,
    counts,
    limits,
    nothing_learnt,
    passed_on,
    planned,
)
from medssl.training.checkpoint import read_card

FIRST = {  # as cards were before there were counts, licences and limits
    "card": 1, "kind": "pretrained", "backbone": {"name": "vit", "options": {"in_channels": 1}},
    "recipe": {"modality": "CT", "intensity": "hu"}, "method": {"name": "mae"},
    "patients": {"pretrain": ["p-1", "p-2"]}, "scans": {"pretrain": ["s-1", "s-2", "s-3"]},
    "patient_key": "k", "cohort": "abc", "config": {"fit": {"steps": 10}}, "steps": 7,
    "versions": {"medssl": "0.0.1"}, "weights_sha256": "0" * 64,
}  # fmt: skip


def made(patients, **more):
    return card(
        "pretrained",
        backbone={"name": "vit"},
        recipe={},
        config={},
        extra=1,
        seen={"patients": patients},
        **more,
    )


def test_is_json_and_keeps_what_was_seen():
    found = json.loads(json.dumps(made({"pretrain": ["a", "b"]})))
    assert found["patients"] == {"pretrain": ["a", "b"]}
    assert found["kind"] == "pretrained" and found["extra"] == 1 and found["versions"]["torch"]


def test_cohort_is_a_fingerprint_of_the_patients():
    assert (
        made({"pretrain": ["a", "b"]})["cohort"]
        == made({"train": ["b"], "pretrain": ["a"]})["cohort"]
    )
    assert made({"pretrain": ["a"]})["cohort"] != made({"pretrain": ["b"]})["cohort"]


def test_counts_are_by_modality():
    items = pd.DataFrame({"patient": ["a", "a", "b"], "modality": ["CT", "MR", ""]})
    assert counts({"train": items}) == {
        "train": {"scans": 3, "patients": 2, "modalities": {"CT": 1, "MR": 1, "not said": 1}}
    }


def test_older_cards_load_and_newer_ones_are_refused(tmp_path):
    for version in (None, 1, CARD_VERSION):
        older = {k: v for k, v in {**FIRST, "card": version}.items() if v is not None}
        (tmp_path / "card.json").write_text(json.dumps(older))
        assert read_card(tmp_path) == older
        assert as_markdown(passed_on(read_card(tmp_path)))
    (tmp_path / "card.json").write_text(json.dumps({**FIRST, "card": CARD_VERSION + 1}))
    with pytest.raises(UserError, match=f"of version {CARD_VERSION + 1}.*install the medssl"):
        read_card(tmp_path)


def test_what_is_passed_on_has_no_patient_and_counts_them():
    found = passed_on(FIRST, "cc-by-4.0", {"test dice": FIGURE})
    text = as_markdown(found)
    assert found["counts"] == {"pretrain": {"patients": 2, "scans": 3}}
    for secret in ("p-1", "s-3"):
        assert secret not in json.dumps(found) and secret not in text
    assert found["intended_use"] == INTENDED and found["licence"] == "cc-by-4.0"
    assert FIRST["patients"], "the card itself is left as it was"


FIGURE = {"estimate": 0.5, "low": 0.41, "high": 0.6, "n_patients": 9, "n_cases": 12}


def test_the_markdown_says_all_that_a_user_must_know():
    text = as_markdown(passed_on(FIRST, metrics={"test dice": FIGURE}))
    for words in (
        "# vit, pretrained with mae", "no medical device", "modality CT", "| pretrain | 3 | 2 |",
        "| test dice | 0.500 | 0.410 to 0.600 | 9 |", "not said: ask who made it",
        "stopped at step 7 of 10", "cohort of 2 patients", "| cohort | abc |",
    ):  # fmt: skip
        assert words in text, words
    assert as_markdown({**FIRST, "versions": {"a|b": "c\nd"}}).count("a\\|b c d") == 1


def test_a_head_names_its_classes_and_its_validation_figure():
    text = as_markdown({
        **FIRST, "kind": "finetuned", "task": {"name": "segmentation"}, "target": [],
        "classes": {"1": "anterior", "2": "posterior"}, "validation": 0.5, "figure": "mean Dice",
    })  # fmt: skip
    assert "| classes | 1 anterior, 2 posterior |" in text
    assert "| validation | mean Dice 0.5000 |" in text and "| learnt |" not in text


def test_limits_follow_from_the_card():
    whole = {**FIRST, "steps": 10}
    assert len(limits(whole)) == 2 and any("without figures" in line for line in limits(whole))
    assert any("collapsed: rank 1" in line for line in limits({**whole, "alarm": "rank 1"}))
    foreign = {**whole, "kind": "imported", "source": {"file": "w.pt"}, "ledger": {"share": 0.9}}
    assert any("w.pt" in line and "guard" in line for line in limits(foreign))
    assert any("10.0% of its weights" in line for line in limits(foreign))
    assert planned(whole) == 10 and planned({"config": {}}) == 0


def test_a_score_that_is_no_better_than_without_learning_is_said():
    def said(validation, chance, **more):
        return nothing_learnt({"validation": validation, "chance": chance, **more})

    words = said(0.008, 0.05, figure="mean Dice")
    assert (
        "best validation mean Dice is 0.0080, and without any learning, as by one answer" in words
    )
    assert "validation score is -2.0000" in said(-2.0, -1.5) and said(0.5, 0.5)
    assert not said(0.3, 0.05) and not said(-1.0, -1.5)
    assert not said(None, 0.05) and not said(0.0, None) and not nothing_learnt({})
