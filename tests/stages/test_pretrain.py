import json
import shutil

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import sha256
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
    with pytest.raises(UserError, match="Mine: has no crops, training_step, after_step, size, pictures"):
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
