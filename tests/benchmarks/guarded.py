"""Does the guard recognise a scan that comes back under another name, format, header or encoding?

    python -m tests.benchmarks.guarded SCANS guarded.csv [N]

Half of N scans of a folder (all taken as of different patients) stand for a training set. They are
planted in a test set in seven ways, written as files and read back by `index` and `prepare`; the other
half are other patients, of whom none may be refused. Writes, for each way, the share refused and the
share at least listed.
"""

import io
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage

from medssl.data.index import read, scan
from medssl.data.leakage import look_alikes, overlap, record
from medssl.data.store import Store
from medssl.data.volume import Volume
from medssl.seeding import generator
from medssl.stages import call

# (how the patient is called, how the picture is changed, how it is written)
WAYS = {
    "same id, another scan": ("same", "other", "first"),
    "id in other case and spaces": ("varied", "other", "first"),
    "other format": ("new", "same", "second"),
    "stripped header": ("new", "same", "bare"),
    "encoded anew": ("new", "encoded", "first"),
    "resampled": ("new", "resampled", "first"),
    "cropped": ("new", "cropped", "first"),
}


def main(folder: Path, out: Path, n: int = 60) -> pd.DataFrame:
    rows = [r for r in scan(folder, "MR", "names") if r.used]
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]
    volumes = [read(row) for row in chosen]
    train, others = volumes[::2], volumes[1::2]
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        trained = stored(
            root / "train", [(v, f"Patient {i}", "first") for i, v in enumerate(train)]
        )
        card, table = record({}, train=trained.items), []
        for way, (who, what, how) in WAYS.items():
            planted = [
                (
                    changed(v if what != "other" else others[i % len(others)], what, i),
                    called(i, who),
                    how,
                )
                for i, v in enumerate(train)
            ]
            table.append({"planted": way, **judged(card, stored(root / way, planted))})
        apart = stored(root / "apart", [(v, f"Other {i}", "first") for i, v in enumerate(others)])
        table.append({"planted": "nothing: other patients", **judged(card, apart)})
    table = pd.DataFrame(table)
    table.to_csv(out, index=False)
    return table


def judged(card: dict, store: Store) -> dict:
    refused = {p for who in overlap(card, store.items).values() for p in who}
    listed = set(look_alikes(card, store.items)["patient"]) | refused
    n = store.items["patient"].nunique()
    return {"patients": n, "refused": len(refused) / n, "refused or listed": len(listed) / n}


def called(i: int, who: str) -> str:
    return {"same": f"Patient {i}", "varied": f"  PATIENT   {i} ", "new": f"Renamed {i}"}[who]


def changed(volume: Volume, what: str, i: int) -> Volume:
    x = volume.array[0].astype(np.float32)
    low, high = np.percentile(x, [0.5, 99.5])
    if what == "encoded":
        noise = generator(0, "noise", i).normal(0, 0.01 * (high - low), x.shape)
        x = np.clip((x + noise - low) / (high - low), 0, 1) * 255
        if x.ndim == 2:
            stream = io.BytesIO()
            Image.fromarray(x.astype(np.uint8)).save(stream, "JPEG", quality=60)
            x = np.array(Image.open(stream)).astype(np.float32)
        return Volume(np.round(x)[None], volume.affine)
    if what == "resampled":
        zoom = 0.75 if i % 2 else 1.3
        affine = volume.affine @ np.diag([*[1 / zoom] * x.ndim, *[1.0] * (4 - x.ndim)])
        return Volume(ndimage.zoom(x, zoom, order=1)[None], affine)
    if what == "cropped":
        x = x[tuple(slice(n // 33, n - n // 33) for n in x.shape)]
    return Volume(x[None], volume.affine)


def stored(folder: Path, scans: list[tuple[Volume, str, str]]) -> Store:
    (folder / "scans").mkdir(parents=True)
    rows = []
    for i, (volume, patient, how) in enumerate(scans):
        name = f"case_{i}"
        rows.append(
            {"path": written(volume, folder / "scans", name, how).name, "patient_id": patient}
        )
    pd.DataFrame(rows).to_csv(folder / "patients.csv", index=False)
    call(
        "index",
        scans=folder / "scans",
        labels=folder / "patients.csv",
        modality="MR",
        out=folder / "m",
    )
    recipe = {"intensity": "percentile", "foreground": "all"}
    return Store.read_from(call("prepare", manifest=folder / "m", recipe=recipe, out=folder / "s"))


def written(volume: Volume, folder: Path, name: str, how: str) -> Path:
    x = volume.array[0]
    if x.ndim == 2:
        path = folder / f"{name}{'.tif' if how == 'second' else '.png'}"
        Image.fromarray(np.clip(np.round(x), 0, 255).astype(np.uint8)).save(path)
    elif how == "second":
        path = folder / f"{name}.mha"
        image = sitk.GetImageFromArray(np.ascontiguousarray(x.T.astype(np.float32)))
        lps = np.diag([-1, -1, 1, 1]) @ volume.affine
        image.SetSpacing(volume.spacing)
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / volume.spacing).ravel().tolist())
        sitk.WriteImage(image, str(path))
    else:
        path = folder / f"{name}.nii.gz"
        affine = np.diag([*volume.spacing, 1.0]) if how == "bare" else volume.affine
        nib.save(nib.Nifti1Image(x.astype(np.float32), affine), path)
    return path


if __name__ == "__main__":
    print(
        main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])).to_string(index=False)
    )
