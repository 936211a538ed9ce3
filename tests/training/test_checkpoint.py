import errno
import json
import os
import resource
import shutil
from collections import namedtuple

import pytest
import torch
from torch import nn

from medssl.errors import UserError
from medssl.training import checkpoint
from medssl.training.durable import sha256
from tests.faults.conftest import MESSAGE, limited

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
        checkpoint.save_state(tmp_path, step, net.state_dict(), {"optimizer": {"a": torch.ones(1)}})
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
    state = checkpoint.save_state(tmp_path / "c", 1, net.state_dict(), {})
    torch.save({"step": Bomb()}, state / "trainer.pt")
    sums = {f: sha256(state / f) for f in ("weights.safetensors", "trainer.pt")}
    (state / "complete.json").write_text(json.dumps(sums))
    with pytest.raises(Exception, match="[Ww]eights.only|Unsupported"):
        checkpoint.load_state(tmp_path / "c")
    assert not (tmp_path / "executed").exists()


def test_states_are_readable_by_their_owner_only(tmp_path):
    saved = checkpoint.save_state(
        tmp_path / "checkpoints", 1, nn.Linear(2, 2).state_dict(), {"step": 1}
    )
    assert saved.stat().st_mode & 0o077 == 0


def saved(folder, *steps):
    for step in steps:
        net = nn.Linear(8, 8)
        nn.init.constant_(net.weight, step)
        checkpoint.save_state(folder, step, net.state_dict(), {"optimizer": {"a": torch.ones(3)}})
    return net


def still_good(folder, step):
    weights, trainer = checkpoint.load_state(folder)
    assert trainer["step"] == step and (weights["weight"] == step).all()
    assert not list(folder.glob(".*"))


def test_without_room_nothing_is_begun(tmp_path, monkeypatch):
    saved(tmp_path, 1, 2)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 70_000, 70_000))
    with pytest.raises(UserError) as error:
        saved(tmp_path, 3)
    assert error.value.code == "DISK" and MESSAGE.fullmatch(str(error.value))
    assert all(
        word in str(error.value) for word in (str(tmp_path), "needs 1.05 MB", "70 kB are free")
    )
    with pytest.raises(UserError, match="DISK .*model needs"):
        checkpoint.save_model(tmp_path / "model", {"backbone": nn.Linear(2, 2)}, CARD)
    still_good(tmp_path, 2)


@pytest.mark.parametrize("call", ["open", "write", "mkdir", "fsync", "rename"])
@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO]
)
def test_a_disk_that_fails_is_told_and_what_was_saved_stays_good(
    tmp_path, monkeypatch, call, number
):
    saved(tmp_path, 1, 2)

    def fails(*args, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(UserError) as error:
            saved(tmp_path, 3)
    told = str(error.value)
    assert error.value.code == "DISK" and MESSAGE.fullmatch(told)
    assert str(tmp_path) in told and os.strerror(number) in told
    assert ("are free there" in told) == (number in (errno.ENOSPC, errno.EDQUOT))
    still_good(tmp_path, 2)


def _with_small_files(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    net = nn.Linear(99, 9)
    checkpoint.save_state(folder, 3, net.state_dict(), {})


def _with_a_large_optimizer(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    checkpoint.save_state(folder, 3, nn.Linear(8, 8).state_dict(), {"optimizer": torch.ones(9_999)})


@pytest.mark.parametrize("save", [_with_small_files, _with_a_large_optimizer])
def test_a_real_limit_is_told(tmp_path, save):
    saved(tmp_path, 1, 2)
    with pytest.raises(
        AssertionError, match="DISK .*step-00000003 of .* cannot be written .File too"
    ):
        limited(save, tmp_path)
    still_good(tmp_path, 2)


@pytest.mark.parametrize("file", ["weights.safetensors", "trainer.pt", "complete.json"])
def test_rot_is_told_and_the_one_before_is_taken(tmp_path, capsys, file):
    saved(tmp_path, 1, 2)
    path = tmp_path / "step-00000002" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    still_good(tmp_path, 1)
    told = capsys.readouterr().err
    assert "remark: checkpoint step-00000002 is left out: " in told
    assert file in told or file == "complete.json"


def test_one_that_was_being_replaced_is_found(tmp_path):
    saved(tmp_path, 2)
    os.rename(tmp_path / "step-00000002", tmp_path / ".step-00000002.old")
    shutil.copytree(tmp_path / ".step-00000002.old", tmp_path / ".step-00000002.77")
    still_good(tmp_path, 2)
    shutil.copytree(tmp_path / "step-00000002", tmp_path / ".step-00000002.old")
    still_good(tmp_path, 2)


def test_what_is_no_model_is_told_by_what_is_wrong_with_it(tmp_path):
    (tmp_path / "spark").mkdir()
    with pytest.raises(UserError, match="there is no such folder; did you mean .*/spark\\? Fix"):
        checkpoint.read_card(tmp_path / "sparc")
    with pytest.raises(UserError, match="holds no card.json, as a model does"):
        checkpoint.read_card(tmp_path / "spark")
    (tmp_path / "spark/config.json").write_text("{}")
    with pytest.raises(UserError, match="is a run that has not written its model yet"):
        checkpoint.read_card(tmp_path / "spark")
    (tmp_path / "study/finetune").mkdir(parents=True)
    with pytest.raises(UserError, match="is a study, .*runs ls .*study/finetune"):
        checkpoint.read_card(tmp_path / "study")
    (tmp_path / "spark/model").mkdir()
    (tmp_path / "spark/model/card.json").write_text("{")
    with pytest.raises(UserError, match="holds no readable card.json"):
        checkpoint.read_card(tmp_path / "spark")
