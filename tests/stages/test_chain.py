"""The chain on a small cohort of real files: every stage, one after the other, in 3D and in 2D."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.errors import UserError
from medssl.stages import call
from medssl.training.checkpoint import sha256

TINY = {"name": "res_unet", "channels": [4, 8]}
FIT = {"steps": 6, "batch_size": 2, "every": 3}


def oblique(spacing) -> np.ndarray:
    a, b = 0.2, 0.1
    x = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    y = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = x @ y @ np.diag(spacing)
    affine[:3, 3] = [-20, 13, 7]
    return affine


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Ten volumes of five patients: a bright ball, labelled, in noise."""
    root = tmp_path_factory.mktemp("cohort")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rows = []
    for i in range(10):
        rng = np.random.default_rng(i)
        shape = tuple(rng.integers(18, 26, 3))
        index = np.indices(shape)
        centre = np.array(shape).reshape(3, 1, 1, 1) * 0.5 + rng.normal(0, 1.5, (3, 1, 1, 1))
        ball = (((index - centre) / rng.uniform(4, 6)) ** 2).sum(0) < 1
        image = (rng.normal(100, 20, shape) + 150 * ball).astype(np.float32)
        affine = oblique((1.0, 1.2, 1.4)) if i % 2 else np.diag([-1.0, -1.2, 1.4, 1])
        nib.save(nib.Nifti1Image(image, affine), root / f"images/case_{i}.nii.gz")
        nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), root / f"labels/case_{i}.nii.gz")
        split = ["train", "train", "train", "val", "test"][i // 2]
        rows.append({"id": f"case_{i}", "patient_id": f"P{i // 2}", "split": split, "odd": i % 2})
    (root / "images/broken.nii.gz").write_bytes(b"not a scan")
    pd.DataFrame(rows).to_csv(root / "splits.csv", index=False)
    out = root / "out"
    call(
        "index",
        scans=root / "images",
        labels=[root / "labels", root / "splits.csv"],
        modality="MR",
        out=out / "m",
    )
    call(
        "prepare",
        "mr_crop",
        manifest=out / "m",
        out=out / "store",
        recipe={"spacing": [1.2, 1.2, 1.2]},
    )
    return root


@pytest.fixture(scope="module")
def segmented(cohort):
    """A run from a pretrained backbone and one from scratch, both evaluated."""
    out = cohort / "out"
    call(
        "pretrain", "voco_small", store=out / "store", out=out / "voco", backbone=TINY,
        method={"crop": [8, 8, 8], "width": 16}, fit=FIT,
    )  # fmt: skip
    for name, scratch in (("scratch", True), ("tuned", False)):
        call(
            "finetune", "few_labels", store=out / "store", backbone=out / "voco", from_scratch=scratch,
            task={"size": [16, 16, 16], "width": 4}, labelled=4, fit={**FIT, "steps": 60, "every": 30},
            classes={1: "ball"}, out=out / name,
        )  # fmt: skip
    call("evaluate", run=out / "scratch")
    call("evaluate", run=out / "tuned", baseline=out / "scratch/evaluation")
    return out


def test_every_file_is_used_or_refused(cohort):
    table = pd.read_parquet(cohort / "out/m/manifest.parquet")
    assert (table["verdict"] == "used").sum() == 10
    broken = table[table["path"].str.contains("broken")].iloc[0]
    assert broken["verdict"] == "refused" and broken["reason"]


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


def test_pretrained_weights_really_arrive(segmented):
    from medssl.training.checkpoint import load_state

    start = load_state(segmented / "voco/checkpoints")[0]
    tuned = load_state(segmented / "tuned/checkpoints")[0]
    scratch = load_state(segmented / "scratch/checkpoints")[0]
    name = "backbone.stages.0.0.conv1.conv.weight"
    near, far = [float((w[name] - start[name]).norm()) for w in (tuned, scratch)]
    assert near < 0.5 * far


def test_figures_have_intervals_patients_and_seed(segmented):
    found = json.loads((segmented / "tuned/evaluation/metrics.json").read_text())
    dice = found["metrics"]["dice, ball"]
    assert dice["low"] <= dice["estimate"] <= dice["high"]
    assert dice["n_patients"] == 1 and dice["n_cases"] == 2 and "seed" in dice
    assert set(found["difference_to_baseline"]) == {"dice", "nsd"}
    cases = pd.read_parquet(segmented / "tuned/evaluation/cases.parquet")
    assert cases["dice"].mean() == pytest.approx(dice["estimate"])
    assert len(pd.read_csv(segmented / "tuned/evaluation/cases.csv")) == len(cases) == 2
    page = (segmented / "tuned/evaluation/report.html").read_text()
    assert (
        "<img" in page
        and "paired difference" in page
        and "http" not in page.replace("http://www.w3.org", "")
    )


def test_a_bright_ball_is_learnt(segmented):
    cases = pd.read_parquet(segmented / "scratch/evaluation/cases.parquet")
    assert cases["dice"].mean() > 0.6


def test_predictions_lie_on_the_scans_own_grid(segmented, cohort):
    out = call(
        "predict",
        run=segmented / "tuned",
        scans=cohort / "images",
        modality="MR",
        out=segmented / "predicted",
    )
    for i in range(10):
        source = nib.load(cohort / f"images/case_{i}.nii.gz")
        found = nib.load(out / f"case_{i}.nii.gz")
        assert found.shape == source.shape and np.allclose(found.affine, source.affine, atol=1e-4)
    refused = pd.read_csv(out / "refused.csv")
    assert len(refused) == 1 and refused["reason"].notna().all()
    truth = nib.load(cohort / "labels/case_0.nii.gz").get_fdata() > 0
    p = nib.load(out / "case_0.nii.gz").get_fdata() > 0
    assert 2 * (p & truth).sum() / (p.sum() + truth.sum()) > 0.5


def test_all_48_axis_orders_predict_the_same_place(segmented, cohort, tmp_path):
    import itertools

    source = nib.load(cohort / "images/case_1.nii.gz")
    orders = [
        "".join(c)
        for p in itertools.permutations(["LR", "PA", "IS"])
        for c in itertools.product(*p)
    ]
    (tmp_path / "in").mkdir()
    for codes in orders:
        nib.save(_turned(source, codes), tmp_path / f"in/{codes}.nii.gz")
    out = call(
        "predict",
        run=segmented / "tuned",
        scans=tmp_path / "in",
        modality="MR",
        out=tmp_path / "out",
    )
    reference = _turned(nib.load(out / "RAS.nii.gz"), "RAS")
    assert reference.get_fdata().any()
    for codes in orders:
        found = nib.load(out / f"{codes}.nii.gz")
        original = nib.load(tmp_path / f"in/{codes}.nii.gz")
        assert found.shape == original.shape and np.allclose(
            found.affine, original.affine, atol=1e-4
        )
        assert np.array_equal(_turned(found, "RAS").get_fdata(), reference.get_fdata()), codes


def _turned(image, codes):
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    return image.as_reoriented(turn)


def test_preparing_again_makes_nothing_again(cohort):
    store = cohort / "out/store"
    before = {p: p.stat().st_mtime_ns for p in (store / "arrays").iterdir()}
    call(
        "prepare",
        "mr_crop",
        manifest=cohort / "out/m",
        out=store,
        recipe={"spacing": [1.2, 1.2, 1.2]},
    )
    assert before == {p: p.stat().st_mtime_ns for p in (store / "arrays").iterdir()}


def test_classification_of_volumes_and_probe(cohort, segmented):
    out = cohort / "out"
    call(
        "finetune", "classification", store=out / "store", target="label_odd", arch=TINY,
        task={"size": [16, 16, 16]}, fit=FIT, out=out / "odd",
    )  # fmt: skip
    with pytest.raises(UserError, match="label_odd"):
        call(
            "finetune",
            "classification",
            store=out / "store",
            target="label_od",
            arch=TINY,
            out=out / "no",
        )
    call("evaluate", run=out / "odd")
    cases = pd.read_csv(out / "odd/evaluation/cases.csv")
    assert {"truth", "predicted", "score_0", "score_1"} <= set(cases)
    call("predict", run=out / "odd", scans=cohort / "images", modality="MR", out=out / "scores")
    scores = pd.read_csv(out / "scores/scores.csv")
    assert len(scores) == 10 and np.allclose(
        scores[["score_0", "score_1"]].sum(axis=1), 1, atol=1e-5
    )
    call("probe", run=out / "voco", store=out / "store", per_class=4)
    assert (
        json.loads((out / "voco/probe/probe.json").read_text())["pretrained"]["estimate"] == 1
    )  # one class


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


def test_the_guard_refuses_patients_that_were_pretrained_on(cohort, segmented):
    out = cohort / "out"
    call(
        "pretrain", "voco_small", store=out / "store", out=out / "greedy", backbone=TINY,
        method={"crop": [8, 8, 8], "width": 16}, fit={**FIT, "steps": 1}, splits=["train", "test"],
    )  # fmt: skip
    options = dict(
        store=out / "store",
        backbone=out / "greedy",
        task={"size": [16, 16, 16], "width": 4},
        fit=FIT,
    )
    with pytest.raises(UserError, match="LEAKAGE .*1 seen in pretrain"):
        call("finetune", "few_labels", **options, labelled=2, out=out / "leaky")
    call("finetune", "few_labels", **options, labelled=2, allow_overlap=True, out=out / "leaky")
    with pytest.raises(UserError, match="LEAKAGE"):
        call("evaluate", run=out / "leaky")
    call("evaluate", run=out / "leaky", allow_overlap=True)
    assert "CAUTION" in (out / "leaky/evaluation/report.html").read_text()


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
