import json

import pytest
import torch
from torch import nn

from medssl.errors import UserError
from medssl.training import checkpoint

CARD = {"kind": "pretrained", "backbone": {}, "recipe": {}, "patients": {}, "scans": {},
        "config": {}, "steps": 1}  # fmt: skip


def test_model_round_trip_and_strictness(tmp_path):
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)).to(
        memory_format=torch.channels_last_3d
    )
    checkpoint.save_model(tmp_path / "model", {"backbone": net}, CARD)
    other = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    checkpoint.load_weights(tmp_path, other, "backbone")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    with pytest.raises(UserError, match="another shape"):
        checkpoint.load_weights(
            tmp_path, nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3)), "backbone"
        )
    with pytest.raises(UserError, match="not expected"):
        checkpoint.load_weights(tmp_path, nn.Sequential(nn.Conv3d(1, 2, 3)), "backbone")
    with pytest.raises(UserError, match="missing"):
        checkpoint.load_weights(tmp_path, other, "head")


def test_one_flipped_bit_is_noticed(tmp_path):
    net = nn.Linear(3, 3)
    checkpoint.save_model(tmp_path, {"backbone": net}, CARD)
    path = tmp_path / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum differs"):
        checkpoint.load_weights(tmp_path, net, "backbone")


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"kind": "finetuned"}'])
def test_a_card_that_lacks_what_is_needed_is_refused(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(UserError, match="CHECKPOINT"):
        checkpoint.read_card(tmp_path)


def test_the_newest_complete_state_is_loaded_and_two_are_kept(tmp_path):
    net = nn.Linear(2, 2)
    assert checkpoint.load_state(tmp_path) is None
    for step in (1, 2, 3):
        nn.init.constant_(net.weight, step)
        checkpoint.save_state(tmp_path, step, net, {"optimizer": {"a": torch.ones(1)}})
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]
    weights, trainer = checkpoint.load_state(tmp_path)
    assert trainer["step"] == 3 and float(weights["weight"][0, 0]) == 3
    torn = tmp_path / "step-00000003/weights.safetensors"
    torn.write_bytes(torn.read_bytes()[:40])
    weights, trainer = checkpoint.load_state(tmp_path)
    assert trainer["step"] == 2 and float(weights["weight"][0, 0]) == 2
    (tmp_path / "step-00000002/complete.json").unlink()
    with pytest.raises(UserError, match="none of 2 checkpoints is complete"):
        checkpoint.load_state(tmp_path)


def test_a_failed_save_leaves_what_was_there(tmp_path):
    net = nn.Linear(2, 2)
    checkpoint.save_model(tmp_path / "model", {"backbone": net}, {"n": 1})
    with pytest.raises(TypeError):
        checkpoint.save_model(tmp_path / "model", {"backbone": net}, {"n": object()})
    assert json.loads((tmp_path / "model/card.json").read_text())["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_no_pickle_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    net = nn.Linear(2, 2)
    state = checkpoint.save_state(tmp_path / "c", 1, net, {})
    torch.save({"step": Bomb()}, state / "trainer.pt")
    sums = {f: checkpoint.sha256(state / f) for f in ("weights.safetensors", "trainer.pt")}
    (state / "complete.json").write_text(json.dumps(sums))
    with pytest.raises(Exception, match="[Ww]eights.only|Unsupported"):
        checkpoint.load_state(tmp_path / "c")
    assert not (tmp_path / "executed").exists()


def test_states_are_readable_by_their_owner_only(tmp_path):
    saved = checkpoint.save_state(tmp_path / "checkpoints", 1, nn.Linear(2, 2), {"step": 1})
    assert saved.stat().st_mode & 0o077 == 0
