"""With labels that belong to other patients nothing may be learnt: does anything leak all the same?

    python -m tests.benchmarks.shuffled films FOLDER labels.csv CLASS out [STEPS]
    python -m tests.benchmarks.shuffled volumes IMAGES MASKS split.csv out [STEPS]

Classes, or masks, change hands between patients (of all splits together); the usual preset is trained on
them and scored on the test split. Expect of films an AUROC whose interval holds 0.5. A mask of another
patient still says where the structure mostly lies, so that chance is a Dice over 0: that of one fixed mask,
the voxels that most training masks hold, on the same test cases. Writes out/shuffled.csv; the difference to
chance has to lie about 0, or under it.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from medssl.evaluation.intervals import bootstrap, paired_difference
from medssl.evaluation.summary import summary
from medssl.seeding import generator
from medssl.stages import call


def films(folder: Path, labels: Path, column: str, out: Path, steps: int) -> pd.DataFrame:
    table = pd.read_csv(labels)
    table["path"] = [str((folder / path).resolve()) for path in table["path"]]
    of_patient = table.groupby("patient_id")[column].first()
    turned = dict(zip(of_patient.index, others(of_patient.to_numpy()), strict=True))
    table[column] = table["patient_id"].map(turned)
    out.mkdir(parents=True, exist_ok=True)
    table[["path", "patient_id", "split", column]].to_csv(out / "labels.csv", index=False)
    call(
        "index", scans=folder, labels=[out / "labels.csv"], outside=True, modality="CT",
        out=out / "manifest",
    )  # fmt: skip
    call(
        "prepare", "xray_chest", manifest=out / "manifest", out=out / "store",
        recipe={"size": [96, 96]},
    )  # fmt: skip
    run = call(
        "finetune", "classification", store=out / "store", target=[f"label_{column}"],
        fit={"steps": steps}, out=out / "run",
    )  # fmt: skip
    cases = pd.read_parquet(call("evaluate", run=run) / "cases.parquet")
    area = summary(cases)["auroc"]
    return pd.DataFrame([{"figure": "auroc", "chance": 0.5, **vars(area)}])


def volumes(images: Path, masks: Path, splits: Path, out: Path, steps: int) -> pd.DataFrame:
    (out / "masks").mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in masks.glob("*.nii.gz"))
    for name, other in zip(names, others(np.array(names)), strict=True):
        own, given = (nib.load(masks / n) for n in (name, other))
        laid = on_grid(np.asarray(given.dataobj), own.shape).astype(np.uint8)
        nib.save(nib.Nifti1Image(laid, own.affine), out / "masks" / name)
    call(
        "index", scans=images, labels=[out / "masks"], splits=splits, modality="MR",
        out=out / "manifest",
    )  # fmt: skip
    call("prepare", "mr_crop", manifest=out / "manifest", out=out / "store")
    run = call(
        "finetune", "segmentation_small", store=out / "store", fit={"steps": steps}, out=out / "run"
    )
    cases = pd.read_parquet(call("evaluate", run=run) / "cases.parquet")
    split = pd.read_csv(splits).set_index("id")["split"]
    fixed = fixed_mask([out / f"masks/{i}.nii.gz" for i in split.index[split == "train"]])
    means = cases.groupby("id")["dice"].mean()
    chance = np.array([dice_of(fixed, out / f"masks/{i}.nii.gz") for i in means.index])
    found = {
        "dice": bootstrap(means.to_numpy(), means.index), "chance": bootstrap(chance, means.index),
        "dice - chance": paired_difference(means.to_numpy(), chance, means.index),
    }  # fmt: skip
    return pd.DataFrame([{"figure": name, **vars(of)} for name, of in found.items()])


def others(values: np.ndarray) -> np.ndarray:
    """The values in another order, drawn."""
    return values[generator(0, "shuffled").permutation(len(values))]


def on_grid(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A mask stretched to a shape, by the nearest voxel."""
    places = [
        ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape, mask.shape, strict=True)
    ]
    return mask[np.ix_(*places)]


def fixed_mask(paths: list[Path], shape: tuple[int, ...] = (40, 56, 40)) -> np.ndarray:
    """The class that most masks have at each place of their grid."""
    laid = [on_grid(np.asarray(nib.load(path).dataobj), shape) for path in paths]
    counts = np.stack(
        [np.sum([m == k for m in laid], axis=0) for k in range(int(np.max(laid)) + 1)]
    )
    return counts.argmax(0)


def dice_of(fixed: np.ndarray, path: Path) -> float:
    truth = np.asarray(nib.load(path).dataobj)
    told = on_grid(fixed, truth.shape)
    classes = [k for k in np.unique(truth) if k]
    each = [
        2 * ((told == k) & (truth == k)).sum() / ((told == k).sum() + (truth == k).sum())
        for k in classes
    ]
    return float(np.mean(each))


if __name__ == "__main__":
    kind, first, second, third, out, *more = sys.argv[1:]
    steps = int(more[0]) if more else 300
    if kind == "films":
        table = films(Path(first), Path(second), third, Path(out), steps)
    else:
        table = volumes(Path(first), Path(second), Path(third), Path(out), steps)
    table.to_csv(Path(out) / "shuffled.csv", index=False)
    print(table.round(3).to_string(index=False))
