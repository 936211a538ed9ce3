"""Words planted wherever a scan can carry text: none of them may come out."""

import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from medssl import cli
from medssl.data.disguises import Words
from medssl.data.manifest import Manifest
from medssl.errors import UserError
from medssl.privacy import is_neutral
from medssl.stages import call
from medssl.stages.scrub import is_local, search
from tests.stages import canaries as plant
from tests.stages.conftest import FIT, TINY


def leaks(known: Words, *folders: Path) -> list[str]:
    """Canaries in names and bytes of everything that is meant to be shared."""
    found = []
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if not is_local(p.relative_to(folder))):
            name = path.relative_to(folder).as_posix()
            data = name.encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
            if path.suffix == ".parquet":
                data += pd.read_parquet(path).to_csv().encode()
            found += [f"{name}: {word} as {how} at {at}" for word, how, at in known.find(data)]
    return found


def balls(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    index = np.indices((20, 20, 16)) - np.array([10, 10, 8]).reshape(3, 1, 1, 1)
    ball = (index**2).sum(0) < rng.integers(16, 36)
    return (rng.normal(100, 20, ball.shape) + 150 * ball).astype(np.int16), ball.astype(np.uint8)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """(folder, canaries): NIfTI with masks of eight patients, a CT, an NRRD, an MHA, broken files."""
    words = plant.Canaries()
    root = tmp_path_factory.mktemp("c") / words.folder()
    scans, masks, rows = root / words.folder(), root / words.folder(), []
    for i in range(8):
        name = words.text()
        array, mask = balls(i)
        plant.nifti(scans / words.folder() / f"{name}.nii.gz", words, array)
        plant.nifti(masks / f"{name}.nii.gz", words, mask)
        split = "train" if i < 4 else "val" if i < 6 else "test"
        rows.append({"id": name, "patient_id": words.text(), "name": words.text(), "split": split})
    pd.DataFrame(rows).to_csv(root / f"{words.text()}.csv", index=False)
    array = balls(9)[0]
    plant.dicom(scans / words.folder(), words, array)
    kinds = [words.text(), words.text()]  # image types that part a series in two
    twice = np.concatenate([array[:, :, :4]] * 2, axis=2)
    plant.dicom(
        scans / words.folder(), words, twice, ImageType=lambda k: ["ORIGINAL", kinds[k // 4]],
        ImagePositionPatient=lambda k: [0, 0, 2.0 * (k % 4)], SOPInstanceUID=lambda k: f"1.2.{k}",
    )  # fmt: skip
    for suffix in (".nrrd", ".mha"):
        plant.itk(scans / words.folder() / f"{words.text()}{suffix}", words, array)
    plant.broken(scans / words.folder(), words)
    return root, scans, masks, words


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """(folder, scans, table, canaries): films in four formats, one patient each."""
    words = plant.Canaries()
    root = tmp_path_factory.mktemp("f") / words.folder()
    scans, rows = root / words.folder(), []
    for i in range(16):
        film = np.random.default_rng(i).integers(0, 60, (40, 48)).astype(np.uint8)
        film[10:25, 10:25] += 120 * (i % 2)
        if i < 4:
            marked = {"BurnedInAnnotation": "YES"} if i == 3 else {}
            path = plant.film(scans, words, film.astype(np.uint16), **marked)
        else:
            suffix = (".png", ".jpg", ".tif")[i % 3]
            path = plant.picture(scans / f"{words.text()}{suffix}", words, film)
        split = "test" if i in (1, 2, 14, 15) else "val" if i in (12, 13) else "train"
        rows.append({"path": path.name, "patient_id": words.text(), "split": split, "dense": i % 2})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root, scans, root / "labels.csv", words


def test_enough_is_planted(volumes, films):
    planted = [*volumes[-1].words, *films[-1].words]
    assert len(planted) > 5000 * 2 and not any(is_neutral(w) for w in volumes[-1].words[:20])


def test_no_word_of_a_volume_comes_out(volumes, tmp_path, monkeypatch):
    root, scans, masks, words = volumes
    out = tmp_path / words.folder()
    table = next(root.glob("*.csv"))
    call("index", scans=scans, labels=[masks, table], modality="MR", out=out / "m")
    manifest = Manifest.read(out / "m")
    assert len(manifest.used) == 8 + 1 + 2 + 2
    assert all(is_neutral(i) for i in manifest.table["id"])
    call("prepare", "mr_crop", manifest=out / "m", out=out / "s", recipe={"spacing": [1.2] * 3})
    call(
        "pretrain", "voco_small", store=out / "s", out=out / "voco", backbone=TINY,
        method={"size": [8, 8, 8], "width": 16}, fit=FIT,
    )  # fmt: skip
    call(
        "finetune", "few_labels", store=out / "s", backbone=out / "voco", labelled=4, fit=FIT,
        task={"size": [16, 16, 16], "width": 4}, classes={1: "ball"}, out=out / "tuned",
    )  # fmt: skip
    call("evaluate", run=out / "tuned", resamples=100)
    shutil.copytree(out / "tuned", out / "again")
    call("compare", runs=[out / "tuned", out / "again"], out=out / "c")
    call(
        "study", store=out / "s", backbones=[out / "voco"], labelled=[2], draws=1, resamples=1000,
        finetune={"task": {"size": [16, 16, 16], "width": 4}, "classes": {1: "ball"}, "fit": FIT},
        out=out / "st",
    )  # fmt: skip
    call("probe", run=out / "voco", store=out / "s", per_class=2)
    call("predict", run=out / "tuned", scans=scans, modality="MR", out=out / "p")
    assert len(list((out / "p").glob("*.nii.gz"))) == len(manifest.used)

    known = Words(words.words)
    assert (
        leaks(known, out / "s", out / "voco", out / "tuned", out / "p", out / "c", out / "st") == []
    )
    # A reason may name a file, as the column beside it does; no other text comes from a scan.
    names = " ".join(manifest.table["files"])
    shown = manifest.table.drop(columns=["path", "files", "label_mask"]).to_csv().encode()
    assert [word for word, *_ in known.find(shown) if word not in names] == []
    secret = pd.read_csv(out / "p/private/names.csv")
    assert set(manifest.used["id"]) <= set(secret["id"])
    for path in (out / "m/manifest.csv", out / "m/manifest.parquet", out / "p/private/names.csv",
                 out / "tuned/config.json", out / "s/store.json"):  # fmt: skip
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for part in ("tuned/model", "tuned/evaluation", "voco/probe"):
        assert list(search(out / part, set(words.words))) == []
    call("scrub", folder=out / "tuned", out=tmp_path / "shared")
    assert not list((tmp_path / "shared").rglob("config.json"))

    _crashes(monkeypatch, out, scans, known)
    call("predict", run=out / "tuned", scans=scans, modality="MR", out=out / "n", ids="names")
    assert leaks(known, out / "n")  # the search does find what is there


def _crashes(monkeypatch, out: Path, scans: Path, known: Words) -> None:
    """A fault in the middle of each stage: neither its report nor what it leaves tells a name."""
    import medssl.stages.predict as predict
    import medssl.stages.pretrain as pretrain

    def explode(row, *_, **__):
        files = getattr(row, "files", [scans])
        raise RuntimeError(f"cannot allocate for {files[0]} of '{files[0].stem}' in {scans.name}")

    with (
        monkeypatch.context() as patch
    ):  # in one scan, which is then refused, and the others as well
        patch.setattr(predict, "read", explode)
        with pytest.raises(UserError, match="no scan could be predicted"):
            call("predict", run=out / "tuned", scans=scans, out=out / "p3")
        refused = (out / "p3/refused.csv").read_text()
        assert "RuntimeError: cannot allocate" in refused
    assert leaks(known, out / "p3") == []
    with monkeypatch.context() as patch:
        patch.setattr(predict, "load_task", explode)
        patch.setattr(pretrain, "method_picture", explode)
        _crash_each(out, scans, known)
    assert leaks(known, out / "p2", out / "v2") == []


def _crash_each(out: Path, scans: Path, known: Words) -> None:
    for words in (
        ["predict", f"run={out / 'tuned'}", f"scans={scans}", f"out={out / 'p2'}"],
        ["pretrain", "voco_small", f"store={out / 's'}", f"out={out / 'v2'}", "backbone.channels=4,8",
         "method.size=8,8,8", "method.width=16", "fit.steps=2", "fit.every=1", "fit.batch_size=2"],
    ):  # fmt: skip
        result = CliRunner().invoke(cli.app, words)
        assert result.exit_code == 1 and "INTERNAL" in result.output, result.output
        report = result.output[result.output.index("INTERNAL") :]
        assert list(known.find(report.encode())) == [], report
        assert "RuntimeError: cannot allocate" in report and "line " in report


def test_no_word_of_a_film_comes_out(films, tmp_path, capsys):
    root, scans, table, words = films
    out = tmp_path / words.folder()
    call("index", scans=scans, labels=[table], out=out / "m")
    assert len(Manifest.read(out / "m").used) == 16
    call("prepare", "xray_chest", manifest=out / "m", out=out / "s", recipe={"size": [32, 32]})
    call(
        "pretrain", "mae_2d", store=out / "s", out=out / "mae", fit=FIT,
        method={"size": [32, 32], "decoder_width": 24, "decoder_heads": 2},
        backbone={"patch": [4, 4], "width": 24, "depth": 1, "heads": 2},
    )  # fmt: skip
    assert not (out / "mae/pictures").exists() and "text in their pixels" in capsys.readouterr().err
    call(
        "finetune", "classification", store=out / "s", target="dense", fit=FIT, out=out / "r",
        arch={"name": "res_unet", "ndim": 2, "channels": [4, 8]}, task={"size": [32, 32]},
    )  # fmt: skip
    call("evaluate", run=out / "r", resamples=100)
    call("predict", run=out / "r", scans=scans, out=out / "p")
    assert leaks(Words(words.words), out / "s", out / "mae", out / "r", out / "p") == []
