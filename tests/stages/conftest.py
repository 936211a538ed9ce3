"""A small cohort of real files, and runs on it, shared by the tests of the stages."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.stages import call

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def segmented(cohort):
    """A run from a pretrained backbone and one from scratch, both evaluated."""
    out = cohort / "out"
    call(
        "pretrain", "voco_small", store=out / "store", out=out / "voco", backbone=TINY,
        method={"size": [8, 8, 8], "width": 16}, fit=FIT,
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
