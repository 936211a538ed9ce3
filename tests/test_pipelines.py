"""Every shipped pipeline runs, on a phantom cohort and with a few steps."""

import json

import pandas as pd
import pytest

from medssl import shipped
from medssl.data.phantom import make
from medssl.stages import call


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    return make(folder, ct=0, mr=5, films=8, scans_per_patient=1)


def run(name, **keys):
    return call("run", pipeline=name, overrides={k: str(v) for k, v in keys.items()})


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
    summary = run("label_efficiency", store=mr / "store", backbone=mr / "run", out=tmp_path, labelled=1,
                  draws=2, steps=2)  # fmt: skip
    table = pd.read_csv(tmp_path / "paired.csv")
    difference = json.loads(summary.read_text())["difference"]["estimate"]
    assert set(table["draw"]) == {0, 1}
    assert difference == pytest.approx((table["pretrained"] - table["scratch"]).mean(), abs=1e-6)


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
    areas = {"auroc", "auprc", "accuracy", "balanced_accuracy"}
    assert set(found["metrics"]) == areas | {"sensitivity, 0", "sensitivity, 1"}
