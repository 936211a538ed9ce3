import json

from medssl.training.card import card


def made(patients):
    return card(
        "pretrained",
        backbone={"name": "vit"},
        recipe={},
        config={},
        extra=1,
        seen={"patients": patients},
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
