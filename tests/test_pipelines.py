"""Every shipped pipeline runs, on a phantom cohort and with a few steps."""

import json
import math
import shutil

import nibabel as nib
import pandas as pd
import pytest

from medssl import shipped
from medssl.data.phantom import make
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Heads of every other voxel, so that a network sees a whole one at once, and films."""
    folder = tmp_path_factory.mktemp("phantom")
    make(folder, ct=0, mr=5, films=8, scans_per_patient=1)
    for path in (folder / "mr").glob("*/*.nii.gz"):
        nib.save(nib.load(path).slicer[::2, ::2, ::2], path)
    return folder


def run(name, **keys):
    given = {k: v if isinstance(v, dict) else str(v) for k, v in keys.items()}
    return call("run", pipeline=name, overrides=given)


@pytest.mark.parametrize("name", shipped.pipelines())
def test_is_short_and_opens_with_the_command(name):
    text = shipped.pipeline(name).read_text()
    assert len(text.splitlines()) <= 60
    assert f"medssl run {name}" in text.split('"""')[1]


def test_quickstart(tmp_path):
    report = run(
        "quickstart", out=tmp_path / "demo", patients=6, labelled=2, pretraining=2, steps=4
    )
    text = report.read_text()
    assert report == tmp_path / "demo/report.html" and text.count("<img") >= 8
    for part in (
        "Cohort",
        "Pretraining with voco",
        "Pretraining with mae",
        "differences are paired",
    ):
        assert part in text
    predictions = list((tmp_path / "demo/predictions").glob("*.nii.gz"))
    assert len(predictions) == 1


@pytest.fixture(scope="module")
def mr(tmp_path_factory, phantom):
    """A folder with the store and the run of `mr_segmentation`."""
    folder, scans = tmp_path_factory.mktemp("mr"), phantom / "mr"
    run("mr_segmentation", images=scans / "images", masks=scans / "labels", splits=scans / "scans.csv",
        out=folder, steps=2)  # fmt: skip
    return folder


def test_mr_segmentation_then_label_efficiency(tmp_path, mr):
    found = json.loads((mr / "run/evaluation/metrics.json").read_text())
    assert found["n_patients"] == 1 and "dice, mean of classes" in found["metrics"]
    report = run("label_efficiency", store=mr / "store", backbone=mr / "run", out=tmp_path / "study",
                 labelled=1, draws=1, steps=1)  # fmt: skip
    assert report == tmp_path / "study/report.html"
    table = pd.read_csv(tmp_path / "study/table.csv")
    assert len(table) == 2 and set(table["arm"]) == {"from scratch", "run"}
    gains = pd.read_csv(tmp_path / "study/differences.csv")
    scores = table.groupby(["labelled", "arm"])["score"].mean().unstack()
    expected = (scores["run"] - scores["from scratch"]).to_list()
    assert gains.sort_values("labelled")["estimate"].to_list() == pytest.approx(expected)


def test_ct_segmentation(tmp_path):
    scans = make(tmp_path / "scans", ct=4, scans_per_patient=1) / "ct"
    splits = pd.DataFrame(
        {"id": sorted(p.name.split(".")[0] for p in (scans / "labels").iterdir())}
    )
    splits.assign(split=["train", "train", "val", "test"]).to_csv(
        tmp_path / "splits.csv", index=False
    )
    report = run("ct_segmentation", scans=scans / "images", masks=scans / "labels", small=True,
                 splits=tmp_path / "splits.csv", out=tmp_path / "ct", labelled="1,0", draws=1,
                 pretraining=2, steps=2)  # fmt: skip
    assert report == tmp_path / "ct/study/report.html"
    table = pd.read_csv(tmp_path / "ct/study/table.csv")
    assert table.groupby("arm")["labelled"].apply(list).to_dict() == {
        "from scratch": [1, 2], "voco_small": [1, 2],
    }  # fmt: skip
    card = json.loads((tmp_path / "ct/study/pretrain/voco_small/model/card.json").read_text())
    assert card["selection"]["kept"] == 2


def test_global_local(tmp_path, mr):
    run("global_local", store=mr / "store", out=tmp_path, labelled=1, pretraining=1, steps=1)
    about = json.loads((tmp_path / "finetuned/model/card.json").read_text())
    assert about["start"] == "pretrained with local_contrast" and about["task"]["mixup"] == 0.1
    assert (tmp_path / "finetuned/evaluation/report.html").exists()


def test_compare_methods(tmp_path, mr):
    table = pd.read_csv(
        run(
            "compare_methods", store=mr / "store", out=tmp_path, minutes=0, methods="mae", threads=1
        )
    )
    assert table["method"].tolist() == ["mae"] and table["steps"].tolist() == [8]
    row = table.iloc[0]
    assert row["difference estimate"] == pytest.approx(
        row["pretrained estimate"] - row["untrained estimate"], abs=2e-4
    )


def test_xray_classification(tmp_path, phantom):
    film = phantom / "film"
    run("xray_classification", films=film / "png", labels=film / "labels.csv", target="label_opacity",
        out=tmp_path / "x", size=64, steps=2)  # fmt: skip
    found = json.loads((tmp_path / "x/run/evaluation/metrics.json").read_text())
    areas = {"auroc", "auprc", "accuracy", "balanced_accuracy", "brier", "calibration_error"}
    each = {"sensitivity, 0", "sensitivity, 1", "sensitivity at 90 % specificity"}
    each |= {"calibration_error before temperature"}
    assert set(found["metrics"]) == areas | each


def test_cross_validation(tmp_path, films, capsys):
    """Every patient is told once, by the model of the fold that has not seen it."""
    out = tmp_path / "folds"
    table = pd.read_csv(
        run("cross_validation", manifest=films / "m", store=films / "films", out=out, folds=3,
            presets="classification,ordinal", target="opacity", fit={"steps": 2, "every": 2})
    )  # fmt: skip
    assert set(table["preset"]) == {"classification", "ordinal"}
    auroc = table[table["figure"] == "auroc"].set_index("preset")
    assert len(auroc) == 2 and (auroc["n_patients"] == 8).all()
    best = auroc["validation"].idxmax()
    assert f"best on validation: {best}; medssl predict {out / best}-0" in capsys.readouterr().err
    told = [pd.read_parquet(out / f"ordinal-{k}/evaluation/cases.parquet") for k in range(3)]
    assert pd.concat(told)["id"].is_unique


def test_lesion_detection(tmp_path, phantom):
    scans = phantom / "mr"
    run("lesion_detection", scans=scans / "images", boxes=scans / "labels", splits=scans / "scans.csv",
        modality="MR", preset="mr_brain", spacing="6,6,6", out=tmp_path, steps=2)  # fmt: skip
    found = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())
    assert {"ap at IoU 0.1", "froc_mean"} <= set(found["metrics"]) and found["n_patients"] == 1


def test_scans_to_store(tmp_path, phantom):
    store = Store.read_from(
        run("scans_to_store", out=tmp_path / "ours", patients=4, spacing="9,9,9")
    )
    assert store.folder == tmp_path / "ours/store" and len(store.items) == 4
    assert store.recipe.intensity == "hu" and store.recipe.spacing == [9, 9, 9]
    scans = tmp_path / "mr"
    shutil.copytree(phantom / "mr/images", scans / "images")
    shutil.copytree(phantom / "mr/labels", scans / "labels")
    keys = {"scans": scans, "modality": "MR", "out": tmp_path / "own", "spacing": "9,9,9"}
    store = Store.read_from(run("scans_to_store", **keys))
    assert store.recipe.modality == "MR" and store.items["has_mask"].all()
    assert store.items["split"].value_counts().to_dict() == {"train": 3, "val": 1, "test": 1}
    written = (store.folder / "items.parquet").stat().st_mtime_ns
    assert run("scans_to_store", **keys) == store.folder  # as it is
    assert (store.folder / "items.parquet").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="EXISTS .*holds a store of other scans"):
        run("scans_to_store", out=tmp_path / "own", patients=1)


@pytest.fixture(scope="module")
def films(tmp_path_factory, phantom):
    folder, film = tmp_path_factory.mktemp("films"), phantom / "film"
    call("index", scans=film / "png", labels=[film / "labels.csv"], out=folder / "m")
    recipe = {"size": [64, 64]}
    call("prepare", "xray_chest", manifest=folder / "m", out=folder / "films", recipe=recipe)
    return folder


SIMCLR = """
method: {name: simclr, size: [16, 16], read: [24, 24]}
backbone: {name: res_unet, ndim: 2, channels: [4, 8]}
"""


def test_reduce_then_pretrain(tmp_path, mr, films):
    out, preset = tmp_path / "less", tmp_path / "simclr.yaml"
    preset.write_text(SIMCLR)
    table = run(
        "reduce_then_pretrain", store=mr / "store", labelled=films / "films", target="label_opacity",
        out=out, preset=preset, few=2, steps=2, passes=0.1, seeds="0,1", threads=1,
    )  # fmt: skip
    table = pd.read_csv(table, index_col="arm")
    assert table.index.tolist() == ["all", "kept_passes", "kept_steps", "scratch"]
    about = json.loads((out / "kept/selection.json").read_text())
    assert table["slices"].dropna().tolist() == [about["items"], about["kept"], about["kept"]]
    assert f",{about['items']}," in (out / "summary.csv").read_text()  # a whole number
    assert (table["runs"] == 2).all() and (table["lowest run"] <= table["estimate"]).all()
    assert table["steps"]["kept_passes"] == math.ceil(0.1 * about["kept"] / 32)
    assert (
        table["steps"]["all"]
        == table["steps"]["kept_steps"]
        == math.ceil(0.1 * about["items"] / 32)
    )
    assert (table["hours"].dropna() > 0).all() and table["hours"].notna().sum() == 3
    taken = [
        json.loads((out / f"{a}-1/model/card.json").read_text())["selection"]
        for a in ("all", "kept_steps")
    ]
    assert not taken[0] and taken[1]["kept"] == about["kept"]
    starts = [
        json.loads((out / f"{a}-0-2/model/card.json").read_text())["start"]
        for a in ("all", "scratch")
    ]
    assert starts == ["pretrained with simclr", "from scratch"]
    means = [_auroc(out, "scratch"), _auroc(out, "all")]
    assert table["estimate"]["scratch"] == pytest.approx(means[0], abs=1e-4)
    gains = pd.read_csv(out / "differences.csv", index_col="arm")
    assert gains["estimate"]["scratch"] == pytest.approx(means[0] - means[1], abs=2e-4)


def _auroc(out, arm):
    """Mean over seeds of what `evaluate` found."""
    runs = [out / f"{arm}-{seed}-2/evaluation/metrics.json" for seed in (0, 1)]
    return sum(json.loads(r.read_text())["metrics"]["auroc"]["estimate"] for r in runs) / 2
