import json

import pytest

from medssl.training.study_folder import Study
from tests.stages.runs.made import STUDY, studied


def test_only_the_folder_of_a_study_is_one(tmp_path):
    assert Study.found(studied(tmp_path / "study")).labelled == "2, all"
    odd = [{"labelled": None}, {"draws": "x"}, {"store": None}, {"backbones": [1]}, {"seeds": None}]
    damaged = [json.dumps({**STUDY, **keys}) for keys in odd]
    for text in ("{", "[]", '{"architectures": ["Bert"]}', *damaged):
        (tmp_path / "config.json").write_text(text)
        assert Study.found(tmp_path) is None
    assert Study.found(tmp_path / "nowhere") is None


@pytest.mark.parametrize(("scratch", "asked"), [(0, 12), (1, 12), (2, 16)])
def test_every_network_has_an_arm_from_scratch(tmp_path, scratch, asked):
    for n in range(scratch):
        (tmp_path / f"finetune/from-scratch-{n}").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps(STUDY))
    assert Study.found(tmp_path).asked == asked


def test_arms_of_a_preset_may_be_left_out(tmp_path):
    arms = {"a, b": {}, "c": {}}
    (tmp_path / "config.json").write_text(json.dumps({**STUDY, "arms": arms, "only": ["c"]}))
    assert Study.found(tmp_path).arms == ["voco", "mae", "c"]
