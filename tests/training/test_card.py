import json

from medssl.training.card import card


def made(patients):
    return card(
        "pretrained", backbone={"name": "vit"}, recipe={}, config={}, patients=patients, extra=1
    )


def test_is_json_and_lists_every_patient_once():
    found = json.loads(json.dumps(made({"pretrain": ["b", "a", "b"]})))
    assert found["patients"] == {"pretrain": ["a", "b"]}
    assert found["kind"] == "pretrained" and found["extra"] == 1 and found["versions"]["torch"]


def test_cohort_is_a_fingerprint_of_the_patients():
    assert (
        made({"pretrain": ["a", "b"]})["cohort"]
        == made({"train": ["b"], "pretrain": ["a"]})["cohort"]
    )
    assert made({"pretrain": ["a"]})["cohort"] != made({"pretrain": ["b"]})["cohort"]
