"""Rows E7 and E8: weights of another architecture or with other names are refused as a whole."""

import json

import pytest
from safetensors.torch import load_file, save_file
from torch import nn

from medssl.errors import UserError
from medssl.training import checkpoint
from medssl.training.card import card
from medssl.training.durable import sha256
from tests.faults.conftest import MESSAGE


def network(width=4, depth=2) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)])


@pytest.fixture
def saved(tmp_path):
    about = card(
        "pretrained", backbone={"name": "vit"}, recipe={}, config={}, seen={"patients": {}}
    )  # fmt: skip
    about |= {"patients": {}, "scans": {}, "steps": 1}
    checkpoint.save_model(tmp_path / "model", {"backbone": network()}, about)
    return tmp_path


def refused(folder, module, *words) -> None:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(UserError) as error:
        checkpoint.load_weights(folder, module, "backbone")
    message = str(error.value)
    assert MESSAGE.fullmatch(message) and all(word in message for word in words), message
    assert all((module.state_dict()[key] == value).all() for key, value in before.items())


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (network(depth=3), ("2 weights of backbone missing", "2.bias")),
        (network(depth=1), ("2 not expected", "1.weight")),
        (network(width=5), ("4 of another shape", "0.bias")),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.Linear(4, 4)), ("1 of another shape", "0.weight")),
    ],
    ids=["E7-deeper", "E7-shallower", "E7-wider", "E7-other"],
)
def test_another_architecture_is_refused_with_the_difference(saved, other, words):
    refused(saved, other, *words, "medssl")


def renamed(folder, rename) -> None:
    path = folder / "model/weights.safetensors"
    save_file({rename(key): value for key, value in load_file(path).items()}, path)
    about = json.loads((folder / "model/card.json").read_text())
    about["weights_sha256"] = sha256(path)
    (folder / "model/card.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        (lambda key: f"module.{key}", ("4 weights of backbone missing",)),
        (lambda key: key.replace("backbone.", "encoder."), ("4 weights of backbone missing",)),
        (lambda key: key.replace("backbone.", "backbone.net."), ("4 weights", "4 not expected")),
        (lambda key: key.replace("1.bias", "1.shift"), ("1 weights", "1 not expected", "1.shift")),
    ],
    ids=["E8-prefix", "E8-other", "E8-inner", "E8-one"],
)
def test_no_name_is_guessed_and_no_part_is_loaded(saved, rename, words):
    renamed(saved, rename)
    refused(saved, network(), *words)
