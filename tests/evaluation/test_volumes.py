import numpy as np
import pandas as pd
import pytest

from medssl.evaluation.volumes import limits_of_agreement, truth_sizes, volumes

CASES = pd.DataFrame({
    "id": list("aabbcc"), "patient": list("ppqqrr"), "class": ["liver", "cyst"] * 3,
    "volume_ml_truth": [100.0, 0, 200, 0, 300, 4], "volume_ml_prediction": [110.0, 2, 190, 0, 330, 0],
})  # fmt: skip


def test_volumes_are_compared_class_by_class():
    found = volumes(CASES, seed=3)
    liver = found["liver"]
    assert liver["truth"] == 200 and liver["prediction"] == 210
    difference = liver["difference"]
    assert difference["low"] <= 10 == difference["estimate"] <= difference["high"]
    assert difference["n_patients"] == difference["n_cases"] == 3 and difference["seed"] == 3
    assert liver["limits"] == pytest.approx((10 - 1.96 * 20, 10 + 1.96 * 20))
    cyst = found["cyst"]["difference"]  # absent from both in b
    assert cyst["n_cases"] == 2 and cyst["estimate"] == -1
    assert volumes(CASES[CASES["id"] == "b"], seed=0)["liver"]["difference"]["n_cases"] == 1


def test_of_one_difference_there_are_no_limits():
    assert np.isnan(limits_of_agreement(np.array([1.0]))).all()


def test_the_size_of_a_truth_is_its_volume_or_its_number_of_boxes():
    assert truth_sizes(CASES).to_dict() == {"a": 100, "b": 200, "c": 304}
    boxes = pd.DataFrame({"id": list("aab"), "box": ["truth", "found", "empty"]})
    assert truth_sizes(boxes).to_dict() == {"a": 1, "b": 0}
