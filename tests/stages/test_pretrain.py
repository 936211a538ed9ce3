import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from safetensors.torch import load_file

from medssl.errors import UserError
from medssl.stages import call
from medssl.training import trackers
from medssl.training.checkpoint import load_state, read_card
from medssl.training.durable import sha256
from medssl.training.log import read_jsonl
from tests.stages.conftest import FIT, TINY


def test_pretraining_leaves_held_out_patients_alone_and_writes_what_it_promises(segmented):
    card = json.loads((segmented / "voco/model/card.json").read_text())
    table = pd.read_parquet(segmented / "m/manifest.parquet")
    held_out = set(table[table["split"].isin(["val", "test"])]["patient"])
    assert len(card["patients"]["pretrain"]) == 3 and not held_out & set(
        card["patients"]["pretrain"]
    )
    assert card["recipe"]["spacing"] == [1.2, 1.2, 1.2]
    assert not any(f"P{i}" in json.dumps(card["patients"]) for i in range(5))
    assert sorted(p.name for p in (segmented / "voco/pictures").iterdir())
    steps = [
        json.loads(line)["step"]
        for line in (segmented / "voco/metrics.jsonl").read_text().splitlines()
    ]
    assert steps[-1] == 6


def test_mae_in_3d_on_slices_and_resumed_on_the_same_folder(cohort):
    out = cohort / "out"
    vit = {"patch": [4, 4, 4], "width": 24, "depth": 1, "heads": 2}
    for preset, size, backbone in [
        ("mae_small", [16, 16, 16], vit),
        ("mae_2d", [16, 16], {**vit, "ndim": 2, "patch": [4, 4]}),
    ]:
        options = dict(
            store=out / "store", backbone=backbone,
            method={"size": size, "decoder_width": 24, "decoder_heads": 2}, out=out / preset,
            fit={**FIT, "workers": 0},
        )  # fmt: skip
        call("pretrain", preset, **options)
        weights = sha256(out / preset / "model/weights.safetensors")
        call("pretrain", preset, **options)
        assert sha256(out / preset / "model/weights.safetensors") == weights
        with pytest.raises(UserError, match="other settings: fit.steps"):
            call("pretrain", preset, **{**options, "fit": {**FIT, "steps": 7}})


def test_an_infinite_run_goes_on_and_is_annealed_apart(cohort, tmp_path, capsys):
    vit = {"patch": [4, 4, 4], "width": 24, "depth": 1, "heads": 2}
    method = {"size": [16, 16, 16], "decoder_width": 24, "decoder_heads": 2}
    options = dict(store=cohort / "out/store", backbone=vit, method=method)
    optim = {"schedule": "infinite", "warmup": 2, "cooldown": 2}
    for steps, out in ((3, "cut"), (6, "cut"), (6, "whole")):
        call("pretrain", "mae_small", **options, fit={**FIT, "steps": steps}, optim=optim,
             out=tmp_path / out)  # fmt: skip
    for file in ("model/weights.safetensors", "metrics.jsonl"):
        assert sha256(tmp_path / "cut" / file) == sha256(tmp_path / "whole" / file)
    asked = json.loads((tmp_path / "cut/config.json").read_text())
    assert asked["fit"]["steps"] == 6 and read_card(tmp_path / "cut")["steps"] == 6

    before = sha256(tmp_path / "cut/checkpoints/step-00000006/trainer.pt")
    anneal = dict(start=tmp_path / "cut", fit={"steps": 9}, optim={"schedule": "anneal"})
    call("pretrain", **anneal, out=tmp_path / "annealed")  # all else is as the run had it
    over = "its keys, but for fit.steps=9, optim.schedule=anneal\n"
    assert f"a branch of {tmp_path / 'cut'} from step 6 on, with {over}" in capsys.readouterr().err
    assert sha256(tmp_path / "cut/checkpoints/step-00000006/trainer.pt") == before
    card = read_card(tmp_path / "annealed")
    assert card["steps"] == 9 and card["parent"]["steps"] == 6
    state = sha256(tmp_path / "cut/checkpoints/step-00000006/weights.safetensors")
    assert card["parent"]["weights_sha256"] == state
    rows = [json.loads(r) for r in (tmp_path / "annealed/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "loss" in r] == [7, 8, 9]
    with pytest.raises(UserError, match="method.mask_ratio.*now 0.5"):
        call("pretrain", **anneal, method={"mask_ratio": 0.5}, out=tmp_path / "no")


def test_self_distillation_starts_from_one_run_and_learns_from_another(cohort, tmp_path):
    vit = {"patch": [4, 4, 4], "width": 24, "depth": 1, "heads": 2}
    method = {"size": [16, 16, 16], "decoder_width": 24, "decoder_heads": 2}
    options = dict(store=cohort / "out/store", method=method, fit={**FIT, "steps": 3})
    original, teacher, out = (tmp_path / name for name in ("original", "teacher", "student"))
    call("pretrain", "mae_small", **options, backbone=vit, out=original)
    call("pretrain", "mae_small", **options, start=original, out=teacher)
    asked = {**options, "start": original, "optim": {"lr": 1e-12}}
    with pytest.raises(UserError, match="method.teacher: is not given"):
        call("pretrain", "self_distillation_small", **asked, out=out)
    asked["method"] = {**method, "teacher": str(teacher)}
    call("pretrain", "self_distillation_small", **asked, out=out)
    first, taught, state = (
        load_file(p) for p in (original / "model/weights.safetensors",
                               teacher / "model/weights.safetensors",
                               out / "checkpoints/step-00000003/weights.safetensors")
    )  # fmt: skip
    name = "backbone.blocks.0.qkv.weight"
    assert (state[name] - first[name]).abs().max() < 1e-9  # so small was the rate
    assert (state[name] - taught[name]).abs().max() > 1e-4
    assert (state[name.replace("backbone", "teacher")] == taught[name]).all()
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(row["distance"] > 0 for row in rows if "distance" in row)
    card = read_card(out)
    assert card["method"]["teacher"] == "teacher" and str(tmp_path) not in json.dumps(card)
    about = json.loads((teacher / "model/card.json").read_text())
    (teacher / "model/card.json").write_text(json.dumps({**about, "steps": 2}))
    with pytest.raises(UserError, match="teacher_weights.steps"):
        call("pretrain", "self_distillation_small", **asked, out=out)


def test_profile_and_tracker_say_more_of_a_run_and_change_nothing(
    segmented, tmp_path, capsys, monkeypatch
):
    told = []
    fake = SimpleNamespace(write=lambda *_: None, close=lambda: told.append("closed"))
    kind = lambda folder, config, first: told.append(config) or fake  # noqa: E731
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", (kind, "json"))
    asked = dict(store=segmented / "store", backbone=TINY, method={"size": [8, 8, 8], "width": 16})
    asked["out"] = tmp_path / "run"
    call(
        "pretrain", "voco_small", **asked, fit={**FIT, "track": "tensorboard"}, profile=True
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "run/profile.csv").set_index("part")
    parts = {"read", "decode", "augment", "forward", "backward", "step", "checkpoint"}
    assert parts <= set(rows.index) and (rows["milliseconds"] > 0).all()
    assert rows["share"].sum() == pytest.approx(1, abs=1e-3)
    assert "where the time went" in capsys.readouterr().err
    # A tracker is told no path of the config.
    assert told[0]["store"] == "store" and told[1:] == ["closed"]
    assert str(segmented) not in json.dumps(told[0]) and str(tmp_path) not in json.dumps(told[0])
    runs = (tmp_path / "run", segmented / "voco")
    weights, others = (sha256(run / "model/weights.safetensors") for run in runs)
    assert weights == others
    call("pretrain", "voco_small", **asked, fit=FIT)  # both are free to differ when it goes on


def test_a_method_of_one_s_own_that_lacks_something_is_told(segmented, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self, backbone, augment, *, size: int = 4):\n"
        "        super().__init__()\n"
        "        self.backbone = backbone\n"
        "class Other(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    asked = {"store": segmented / "store", "backbone": TINY, "out": tmp_path / "no"}
    with pytest.raises(
        UserError, match="Mine: has no crops, training_step, after_step, size, pictures"
    ):
        call("pretrain", **asked, method="mine:Mine")
    with pytest.raises(UserError, match="cannot be built as a method is"):
        call("pretrain", **asked, method="mine:Other")
    with pytest.raises(UserError, match="takes no in_channels|cannot be built"):
        call("pretrain", **{**asked, "backbone": "torch.nn:Linear"}, method="mine:Mine")


def test_an_ended_run_whose_model_was_lost_is_told(segmented, tmp_path):
    shutil.copytree(segmented / "voco", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    with pytest.raises(UserError, match="model/ is not there"):
        asked = json.loads((tmp_path / "run/config.json").read_text())
        del asked["backbone_weights"]  # what the stage notes beside its config
        call("pretrain", **{**asked, "out": tmp_path / "run"})


DECODING = """
import torch
from medssl.backbones.decoder import UNetDecoder
from medssl.data.crops import CropSpec
from medssl.trainable import StepOutput


class Decoding(torch.nn.Module):
    def __init__(self, backbone, augment, *, size: list[int]):
        super().__init__()
        self.backbone, self.size, self.crops = backbone, tuple(size), CropSpec(tuple(size))
        self.decoder = UNetDecoder(backbone, 1, 4)

    def training_step(self, batch, step):
        image = batch["image"]
        return StepOutput((self.decoder(self.backbone(image), image) - image).square().mean())

    def after_step(self, step):
        pass

    def pictures(self, batch, step):
        return []
"""


def test_a_run_starts_from_a_model_and_hands_its_decoder_over(segmented, tmp_path, monkeypatch):
    (tmp_path / "decoding.py").write_text(DECODING)
    monkeypatch.syspath_prepend(tmp_path)
    store = {"store": segmented / "store"}
    method = {"name": "decoding:Decoding", "size": [16, 16, 16]}
    call("pretrain", **store, start=segmented / "voco", method=method, fit=FIT, out=tmp_path / "a")
    card, parent = (read_card(run) for run in (tmp_path / "a", segmented / "voco"))
    assert card["backbone"] == parent["backbone"]
    assert card["parent"] == {"steps": 6, "weights_sha256": parent["weights_sha256"]}
    tune = dict(**store, task={"size": [16, 16, 16], "width": 4}, fit={**FIT, "steps": 1},
                optim={"lr": 1e-9, "warmup": 0})  # fmt: skip
    for decoder in (True, False):
        call("finetune", "few_labels", **tune, backbone=tmp_path / "a", decoder=decoder,
             out=tmp_path / f"tuned-{decoder}")  # fmt: skip
    name = "decoder.blocks.0.0.weight"
    kept = load_file(tmp_path / "a/model/weights.safetensors")[name.replace("blocks.", "")]
    near, far = (
        (load_state(tmp_path / f"tuned-{decoder}/checkpoints")[0][name] - kept).norm()
        for decoder in (True, False)
    )
    assert near < 1e-3 * far
    with pytest.raises(UserError, match="weights of decoder missing"):
        call("finetune", "few_labels", **tune, backbone=segmented / "voco", decoder=True,
             out=tmp_path / "no")  # fmt: skip


def test_in_double_precision_it_is_watched_too(cohort, tmp_path):
    run = call("pretrain", "voco_small", store=cohort / "out/store", backbone=TINY, out=tmp_path / "r",
               method={"size": [8, 8, 8], "width": 16},
               fit={**FIT, "steps": 2, "every": 2, "precision": "64-true"})  # fmt: skip
    assert any("spread" in row for row in read_jsonl(run / "metrics.jsonl") if row["step"] == 2)
