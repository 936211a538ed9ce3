import json

import numpy as np
import pandas as pd
from PIL import Image

from medssl.stages import call


def test_films_from_png_to_scores(tmp_path):
    rows = []
    (tmp_path / "films").mkdir()
    for i in range(16):
        rng = np.random.default_rng(i)
        film = rng.integers(0, 60, (40, 48)).astype(np.uint8)
        if i % 2:
            film[10:25, 10:25] += 120
        Image.fromarray(film).save(tmp_path / f"films/f{i:02d}.png")
        split = "test" if i > 11 else "val" if i > 9 else "train"
        rows.append(
            {"path": f"films/f{i:02d}.png", "patient_id": f"Q{i}", "split": split, "opacity": i % 2}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    call("index", scans=tmp_path / "films", labels=[tmp_path / "labels.csv"], out=tmp_path / "m")
    call(
        "prepare",
        "xray_chest",
        manifest=tmp_path / "m",
        out=tmp_path / "s",
        recipe={"size": [32, 32]},
    )
    call(
        "finetune", "classification", store=tmp_path / "s", target="label_opacity", out=tmp_path / "r",
        arch={"name": "res_unet", "ndim": 2, "channels": [4, 8]}, task={"size": [32, 32]},
        fit={"steps": 40, "batch_size": 8, "every": 20},
    )  # fmt: skip
    call("evaluate", run=tmp_path / "r", resamples=200)
    found = json.loads((tmp_path / "r/evaluation/metrics.json").read_text())["metrics"]
    assert found["auroc"]["estimate"] == 1.0 and found["auroc"]["n_patients"] == 4
