import json

import pandas as pd
import pytest

from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import sha256
from tests.stages.conftest import FIT


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
