"""Boxes from the table or COCO file to the report and back to the scan."""

import json

import highdicom as hd
import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from medssl.data.manifest import Manifest
from medssl.data.phantom import cohort as phantom
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from tests.stages.conftest import TINY

FAST = {"steps": 40, "batch_size": 8, "every": 20, "threads": 1}
NET = {"name": "res_unet", "channels": [8, 16, 32]}
TASK = {"width": 16, "finest": 4}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    out = tmp_path_factory.mktemp("films")
    phantom.make(out / "p", ct=0, films=10, size="small")
    film = out / "p/film"
    call("index", scans=film / "png", labels=[film / "boxes.json"], modality="CR", out=out / "m")
    call("prepare", "xray_chest", manifest=out / "m", out=out / "store", recipe={"size": [64, 64]})
    call(
        "finetune", "detection", store=out / "store", task={**TASK, "size": [64, 64]},
        arch={**NET, "ndim": 2}, fit=FAST, out=out / "run",
    )  # fmt: skip
    call("evaluate", run=out / "run")
    return out


def test_boxes_of_films_are_scored_and_drawn(films):
    out = films / "run/evaluation"
    found = json.loads((out / "metrics.json").read_text())
    names = {"ap at IoU 0.5", "map", "froc_mean", "sensitivity at 0.125 false a scan"}
    assert names <= set(found["metrics"]) and found["tolerance_mm"] is None
    cases = pd.read_csv(out / "cases.csv")
    store = Store.read_from(films / "store")
    test = store.items[store.items["split"] == "test"]
    assert set(cases["id"]) == set(test.index)
    for item in test.index:
        true = cases[(cases["id"] == item) & (cases["box"] == "truth")]
        given = [b["box"] for b in json.loads(test.at[item, "boxes"])]
        assert np.allclose(
            true[["x0", "y0", "x1", "y1"]], np.array(given).reshape(-1, 4), atol=0.01
        )
    page = (out / "report.html").read_text()
    assert "Free-response" in page and "Boxes by class" in page
    assert len(list((out / "pictures").glob("*.png"))) >= 1


def test_a_box_in_prepared_pixels_shows_what_it_shows_in_the_film(films):
    store = Store.read_from(films / "store")
    item = next(i for i in store.items.index if store.items.at[i, "boxes"] != "[]")
    ((y0, x0, y1, x1),) = store.boxes(item)[0]
    grid = store.grid(item)
    ((a0, b0, a1, b1),) = store.scan_boxes(item)
    for low, high, was_low, was_high, axis in ((y0, y1, a0, a1, 0), (x0, x1, b0, b1, 1)):
        share = store.shape(item)[axis] / (grid.high[axis] - grid.low[axis])
        assert (low, high) == pytest.approx(
            ((was_low - grid.low[axis]) * share, (was_high - grid.low[axis]) * share)
        )


def test_another_run_s_boxes_are_compared_on_the_same_films(films, tmp_path):
    call("evaluate", run=films / "run", out=tmp_path / "a", baseline=films / "run/evaluation")
    found = json.loads((tmp_path / "a/metrics.json").read_text())["difference_to_baseline"]
    assert found and all(
        v["estimate"] in (0, pytest.approx(0)) or np.isnan(v["estimate"]) for v in found.values()
    )


def test_predicted_boxes_can_be_read_as_labels_and_archived(films, tmp_path):
    call(
        "predict", run=films / "run", scans=films / "p/film/dicom", out=tmp_path / "p", dicom=True,
        ids="names",
    )  # fmt: skip
    boxes = pd.read_csv(tmp_path / "p/boxes.csv")
    assert len(boxes["id"].unique()) == 20
    parquet = pd.read_parquet(tmp_path / "p/boxes.parquet")
    assert list(parquet.columns) == list(boxes.columns) and len(parquet) == len(boxes)
    call("index", scans=films / "p/film/dicom", labels=[tmp_path / "p/boxes.csv"], ids="names",
         out=tmp_path / "m")  # fmt: skip
    again = Manifest.read(tmp_path / "m").used.set_index("id")["boxes"].map(json.loads).map(len)
    assert again.sum() == boxes["called"].fillna(False).astype(bool).sum()
    reports = sorted((tmp_path / "p/archive").glob("*.sr.dcm"))
    called = boxes[boxes["called"].fillna(False).astype(bool)]
    assert len(reports) == called["id"].nunique() > 0
    report = hd.sr.srread(reports[0])
    of_scan = called[called["id"] == reports[0].name.split(".")[0]]
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == len(of_scan)
    for group, (_, row) in zip(groups, of_scan.iterrows(), strict=True):
        outline = np.array(group.roi.value)
        assert outline.min(0) == pytest.approx([row["x0"], row["y0"]], abs=0.01)
        assert outline.max(0) == pytest.approx([row["x1"], row["y1"]], abs=0.01)
        side, score = (m.value for m in group.get_measurements())
        assert side == pytest.approx(row["longest_side_mm"], abs=0.01)
        assert score == pytest.approx(row["score"], abs=1e-3)
    assert pydicom.dcmread(reports[0]).Modality == "SR"
    assert reports[0].stat().st_mode & 0o077 == 0  # it names the patient


def test_models_of_boxes_are_averaged(films, tmp_path):
    call(
        "predict", run=films / "run", also=[films / "run"], scans=films / "p/film/png", modality="CR",
        out=tmp_path / "p",
    )  # fmt: skip
    call(
        "predict",
        run=films / "run",
        scans=films / "p/film/png",
        modality="CR",
        out=tmp_path / "one",
    )
    both, one = (pd.read_csv(tmp_path / name / "boxes.csv") for name in ("p", "one"))
    assert np.allclose(both["sd_score"].dropna(), 0) and len(both) <= len(one)
    assert (
        one["x0"].notna().any() and one["longest_side_mm"].isna().all()
    )  # a PNG says no millimetres


def test_boxes_around_parts_of_masks_in_volumes(cohort, tmp_path):
    out = cohort / "out"
    asked = {"store": out / "store", "arch": TINY, "fit": {**FAST, "steps": 6, "every": 3, "batch_size": 2},
             "task": {"size": [16, 16, 16], "width": 8, "finest": 2}}  # fmt: skip
    with pytest.raises(UserError, match="has boxes.*boxes_of_masks=true"):
        call("finetune", "detection_3d", **asked, out=tmp_path / "no")
    run = call(
        "finetune", "detection_3d", **asked, boxes_of_masks=True, smallest=3, out=tmp_path / "run"
    )
    call("evaluate", run=run)
    cases = pd.read_csv(run / "evaluation/cases.csv")
    assert {"x0", "z1"} <= set(cases) and (cases["iou"] == 0.1).all()
    store = Store.read_from(out / "store")
    item = cases.loc[cases["box"] == "truth", "id"].iloc[0]
    mask = nib.load(next((cohort / "labels").glob(f"{item}*"))).get_fdata()
    where = np.argwhere(mask > 0)
    true = cases[(cases["id"] == item) & (cases["box"] == "truth")][
        ["x0", "y0", "z0", "x1", "y1", "z1"]
    ]
    # The prepared mask is another grid: its box is right within a voxel of it.
    near = (
        max(store.spacing(item))
        / min(nib.load(cohort / f"images/{item}.nii.gz").header.get_zooms())
        + 1
    )
    assert np.abs(true.to_numpy()[0] - [*where.min(0), *(where.max(0) + 1)]).max() <= near
    predicted = call("predict", run=run, scans=cohort / "images", modality="MR", out=tmp_path / "p")
    boxes = pd.read_csv(predicted / "boxes.csv")
    assert {"centre_right_mm", "z1", "longest_side_mm", "called"} <= set(boxes)


@pytest.fixture(scope="module")
def oddly_told(films):
    """The films once more, with what a COCO file may also hold: a store, and what was said of it."""
    content = json.loads((films / "p/film/boxes.json").read_text())
    boxes = content["annotations"]
    split = {image["id"]: image["split"] for image in content["images"]}
    of_test = next(a for a in boxes if split[a["image_id"]] == "test")
    of_train = next(a for a in boxes if split[a["image_id"]] == "train")
    extra = [{**of_test, "bbox": [0, 0, 99, 99], "iscrowd": 1}, dict(of_train)]
    for number, annotation in enumerate(extra):
        annotation["id"] = 1000 + number
    (films / "p/film/odd.json").write_text(json.dumps({**content, "annotations": boxes + extra}))
    call("index", scans=films / "p/film/png", labels=[films / "p/film/odd.json"], modality="CR",
         out=films / "odd_m")  # fmt: skip
    size = {"recipe": {"size": [64, 64]}}
    call("prepare", "xray_chest", manifest=films / "odd_m", out=films / "odd_s", **size)
    return films / "odd_s"


def test_crowds_of_coco_are_ignored_from_the_file_to_the_report(oddly_told, tmp_path, capsys):
    notes = Manifest.read(oddly_told.parent / "odd_m").notes
    assert any("1 regions are to be ignored (iscrowd=1)" in note for note in notes)
    run = call(
        "finetune", "detection", store=oddly_told, task={**TASK, "size": [64, 64]},
        arch={**NET, "ndim": 2}, fit={**FAST, "steps": 1, "every": 1}, out=tmp_path / "run",
        classes={1: "opacity", 2: "mass"},
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "remark: training: 1 boxes repeat another of their scan and class" in said
    assert "remark: mass is asked for, and no scan to learn from holds it" in said
    out = call("evaluate", run=run)
    cases = pd.read_csv(out / "cases.csv")
    assert (cases["box"] == "ignored").sum() == 1
    known = json.loads((out / "metrics.json").read_text())["remarks"]
    assert "1 regions are ignored: neither a box nor background" in known
    assert "one of the 1 regions that are to be ignored" in (out / "report.html").read_text()


def test_a_target_column_is_no_boxes(films, tmp_path):
    with pytest.raises(UserError, match="learns from boxes"):
        call("finetune", "detection", store=films / "store", target="x", out=tmp_path / "r")


def test_boxes_indexed_anew_are_stale(films, tmp_path):
    film = films / "p/film"
    asked = {"scans": film / "png", "modality": "CR", "out": tmp_path / "m"}
    call("index", **asked, labels=[film / "boxes.json"])
    store = call(
        "prepare",
        "xray_chest",
        manifest=tmp_path / "m",
        out=tmp_path / "s",
        recipe={"size": [64, 64]},
    )
    content = json.loads((film / "boxes.json").read_text())
    content["annotations"][0]["bbox"][0] += 1
    (film / "shifted.json").write_text(json.dumps(content))
    call("index", **asked, labels=[film / "shifted.json"])
    with pytest.raises(UserError, match="STALE.*boxes of some scans"):
        call("evaluate", run=films / "run", store=store)
