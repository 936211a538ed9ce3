import itertools
import re
import shutil
import subprocess
import sys

import highdicom as hd
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.phantom import write_dicom
from medssl.errors import UserError
from medssl.stages import call, predict
from tests.stages.conftest import FIT, TINY

HOLDING = """
import sys
from pathlib import Path
from medssl.data.files import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.fixture(scope="module")
def odd(cohort, tmp_path_factory):
    """A run that tells one class of scans from the other."""
    return call(
        "finetune", "classification", store=cohort / "out/store", target="odd", arch=TINY,
        task={"size": [16, 16, 16]}, fit=FIT, out=tmp_path_factory.mktemp("odd") / "run",
    )  # fmt: skip


def test_predictions_lie_on_the_scans_own_grid(segmented, cohort, capsys):
    out = call(
        "predict",
        run=segmented / "tuned",
        scans=cohort / "images",
        modality="MR",
        out=segmented / "predicted",
    )
    said = capsys.readouterr().err
    assert (
        "each is called by its file's name where that is neutral, else, as DICOM series are, by"
        in said
    )
    assert f"{out}/private/names.csv says which scan it is" in said
    for i in range(10):
        source = nib.load(cohort / f"images/case_{i}.nii.gz")
        found = nib.load(out / f"case_{i}.nii.gz")
        assert found.shape == source.shape and np.allclose(found.affine, source.affine, atol=1e-4)
    refused = pd.read_csv(out / "refused.csv")
    assert len(refused) == 1 and refused["reason"].notna().all()
    truth = nib.load(cohort / "labels/case_0.nii.gz").get_fdata() > 0
    p = nib.load(out / "case_0.nii.gz").get_fdata() > 0
    assert 2 * (p & truth).sum() / (p.sum() + truth.sum()) > 0.5


def test_predictions_keep_the_source_s_space_and_are_not_overwritten_unasked(
    segmented, cohort, tmp_path
):
    source = nib.load(cohort / "images/case_1.nii.gz")
    source.set_sform(source.affine, 4)
    sheared = source.affine @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    (tmp_path / "in").mkdir()
    nib.save(source, tmp_path / "in/template.nii.gz")
    nib.save(nib.Nifti1Image(source.get_fdata(), sheared), tmp_path / "in/sheared.nii.gz")
    asked = {"run": segmented / "tuned", "scans": tmp_path / "in", "modality": "MR"}
    out = call("predict", **asked, out=tmp_path / "o")
    found = nib.load(out / "template.nii.gz")
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (4, 4)
    assert np.allclose(found.get_qform(), source.affine, atol=1e-4)
    found = nib.load(out / "sheared.nii.gz")
    assert np.allclose(found.affine, sheared, atol=1e-4) and int(found.header["qform_code"]) == 0
    before = (out / "template.nii.gz").read_bytes()
    asked["run"] = segmented / "scratch"
    with pytest.raises(UserError, match="holds 2 earlier predictions"):
        call("predict", **asked, out=tmp_path / "o")
    assert (out / "template.nii.gz").read_bytes() == before
    call("predict", **asked, out=tmp_path / "o", overwrite=True)
    with pytest.raises(UserError, match="CONFIG .*is the folder of a run"):
        call("predict", **asked, out=segmented / "tuned")


def test_scans_named_one_a_line(segmented, cohort, tmp_path):
    (tmp_path / "far").mkdir()
    shutil.copy(cohort / "images/case_2.nii.gz", tmp_path / "far/case_2.nii.gz")
    named = tmp_path / "names.txt"
    asked = {"run": segmented / "tuned", "scans": named, "modality": "MR"}
    named.write_text(f"{cohort / 'images/case_1.nii.gz'}\n\nfar\n")
    out = call("predict", **asked, out=tmp_path / "o")
    assert {p.name for p in out.glob("*.nii.gz")} == {"case_1.nii.gz", "case_2.nii.gz"}
    named.write_text("far/case_2.nii.gz\nfar/case_8.nii.gz\nnowhere\n")
    with pytest.raises(UserError, match=r"names 2 of 3 that are not there .*case_8.*nowhere"):
        call("predict", **asked, out=tmp_path / "no")
    named.write_text("\n")
    with pytest.raises(UserError, match="EMPTY .*names no scan"):
        call("predict", **asked, out=tmp_path / "no")


def test_predictions_that_were_cut_off_go_on(segmented, cohort, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for i in range(3):
        shutil.copy(cohort / f"images/case_{i}.nii.gz", tmp_path / "in")
    asked = {"run": segmented / "tuned", "scans": tmp_path / "in", "out": tmp_path / "o"}
    out = call("predict", **asked)
    told = capsys.readouterr().err
    assert re.search(r"this model's mean Dice on validation scans was [01]\.\d{3}\n", told)
    assert "remark on 3 scans" in told and "nothing says its modality, it is taken as MR" in told
    whole = {p.name: p.read_bytes() for p in out.glob("*.nii.gz")}
    assert len(whole) == 3
    (out / "case_1.nii.gz").unlink()
    (out / "case_0.nii.gz").write_bytes(b"not looked at")
    call("predict", **asked)
    assert "2 scans were predicted before, by this model; going on" in capsys.readouterr().err
    assert (out / "case_1.nii.gz").read_bytes() == whole["case_1.nii.gz"]
    assert (out / "case_0.nii.gz").read_bytes() == b"not looked at"
    shutil.copy(cohort / "images/case_3.nii.gz", tmp_path / "in/case_0.nii.gz")  # another scan
    with pytest.raises(UserError, match="holds 1 earlier predictions"):
        call("predict", **asked)


def tables_of(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.csv"))}


def killed_at(scan, monkeypatch, **asked):
    """Predict, and be killed while the scan with this number is read."""
    reads, seen = predict.read, []

    def read(row):
        seen.append(row)
        if len(seen) == scan:
            raise KeyboardInterrupt
        return reads(row)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "read", read)
        with pytest.raises(KeyboardInterrupt):
            call("predict", **asked)


@pytest.mark.parametrize("run", ["tuned", "odd"])
def test_killed_and_given_again_it_ends_in_the_tables_of_one_sitting(
    segmented, odd, cohort, tmp_path, monkeypatch, capsys, run
):
    asked = {"run": {"tuned": segmented / "tuned", "odd": odd}[run], "scans": cohort / "images"}
    whole = tables_of(call("predict", **asked, out=tmp_path / "whole"))
    n = len((tmp_path / "whole/private/found.jsonl").read_text().splitlines())
    out = tmp_path / "out"
    killed_at(4, monkeypatch, **asked, out=out)
    found = out / "private/found.jsonl"
    assert found.stat().st_mode & 0o077 == 0 and found.read_text().count("\n") == 3
    found.write_text(found.read_text()[:-9])  # as if killed while the third was noted
    capsys.readouterr()
    call("predict", **asked, out=out)
    told = capsys.readouterr().err
    assert "2 scans were predicted before" in told and f"predicted {n - 2} scans" in told
    assert tables_of(out) == whole
    call("predict", **asked, out=out)
    assert "predicted 0 scans" in capsys.readouterr().err and tables_of(out) == whole


def test_two_at_once_do_not_predict_into_one_folder(segmented, cohort, tmp_path):
    asked = {"run": segmented / "tuned", "scans": cohort / "images/case_0.nii.gz"}
    out = call("predict", **asked, out=tmp_path / "out")
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    command = [sys.executable, "-c", HOLDING, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="BUSY .*another process is writing there"):
            call("predict", **asked, out=out)
        other.communicate()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files
    call("predict", **asked, out=out)


def test_more_scans_join_those_that_this_model_predicted(segmented, odd, cohort, tmp_path):
    for i in range(3):
        folder = tmp_path / ("one" if i else "two")
        folder.mkdir(exist_ok=True)
        shutil.copy(cohort / f"images/case_{i}.nii.gz", folder)
    out = tmp_path / "out"
    for scans in ("one", "two"):
        call("predict", run=odd, scans=tmp_path / scans, out=out)
    assert pd.read_csv(out / "scores.csv")["id"].tolist() == ["case_1", "case_2", "case_0"]
    assert set(pd.read_csv(out / "private/names.csv")["id"]) == {"case_0", "case_1", "case_2"}
    with pytest.raises(UserError, match="EXISTS .*holds 3 earlier predictions"):
        call("predict", run=segmented / "tuned", scans=tmp_path / "one", out=out)
    with pytest.raises(
        UserError, match=r"EXISTS .*holds 2 .* of another model .*Fix: choose another out=$"
    ):
        call("predict", run=segmented / "tuned", scans=tmp_path / "two", out=out, overwrite=True)
    call("predict", run=odd, scans=tmp_path / "two", out=out, overwrite=True)
    assert pd.read_csv(out / "scores.csv")["id"].tolist() == ["case_1", "case_2", "case_0"]
    shutil.copytree(tmp_path / "two", tmp_path / "three", copy_function=shutil.copy2)
    with pytest.raises(
        UserError, match="EXISTS .*holds 1 .* of other files"
    ):  # of the same name and time
        call("predict", run=odd, scans=tmp_path / "three", out=out)
    with pytest.raises(
        UserError, match="EXISTS .*holds 2 .* of other files"
    ):  # they are there as case_N
        call("predict", run=odd, scans=tmp_path / "one", ids="pseudonyms", out=out)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/scores.csv").write_text("of another tool")
    with pytest.raises(UserError, match="EXISTS .*scores.csv"):
        call("predict", run=odd, scans=tmp_path / "two", out=tmp_path / "theirs")


def test_all_48_axis_orders_predict_the_same_place(segmented, cohort, tmp_path):
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
        ids="names",
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


def test_a_scan_that_the_model_does_not_take_is_refused_and_the_others_go_on(
    segmented, cohort, tmp_path
):
    (tmp_path / "in").mkdir()
    shutil.copy(cohort / "images/case_0.nii.gz", tmp_path / "in/good.nii.gz")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(
        tmp_path / "in/film.png"
    )
    out = call(
        "predict", run=segmented / "tuned", scans=tmp_path / "in", modality="MR", out=tmp_path / "o"
    )
    assert (out / "good.nii.gz").exists()
    assert "film" in (out / "refused.csv").read_text()
    with pytest.raises(UserError, match="no scan could be predicted"):
        call("predict", run=segmented / "tuned", scans=tmp_path / "in/film.png", out=tmp_path / "n")


def test_scans_are_never_written_to(segmented, cohort, tmp_path):
    shutil.copytree(cohort / "images", tmp_path / "in")
    before = {p: p.read_bytes() for p in (tmp_path / "in").iterdir()}
    one = tmp_path / "in/case_0.nii.gz"
    for scans, out in (
        (one.parent, one.parent),
        (one.parent, one.parent / "out"),
        (one, one.parent),
    ):
        with pytest.raises(UserError, match="among the scans"):
            call("predict", run=segmented / "tuned", scans=scans, out=out, overwrite=True)
    with pytest.raises(UserError, match="among the scans"):
        call("prepare", manifest=cohort / "out/m", out=cohort / "images/store")
    assert before == {p: p.read_bytes() for p in (tmp_path / "in").iterdir()}


def test_volumes_and_files_for_the_archive(segmented, cohort, tmp_path, capsys):
    source = nib.as_closest_canonical(nib.load(cohort / "images/case_0.nii.gz"))
    array = np.clip(source.get_fdata(), 0, 2000).astype(np.int16)
    affine = np.diag([*source.header.get_zooms()[:3], 1.0])
    write_dicom.series(tmp_path / "in/series", array, affine, "MR", "PHANTOM-000")
    shutil.copy(cohort / "images/case_2.nii.gz", tmp_path / "in")
    asked = {"run": segmented / "tuned", "scans": tmp_path / "in", "modality": "MR", "dicom": True}
    out = call("predict", **asked, out=tmp_path / "p")
    assert "it is no DICOM series" in capsys.readouterr().err
    (segments,) = (out / "archive").glob("*.seg.dcm")
    (report,) = (out / "archive").glob("*.sr.dcm")
    assert (out / "archive").stat().st_mode & 0o077 == 0
    table = pd.read_csv(out / "volumes.csv")
    assert len(table) == 2 and set(table) == {"id", "class", "volume_ml"}
    id = segments.name.removesuffix(".seg.dcm")
    mask = nib.load(out / f"{id}.nii.gz")
    said = table.set_index("id").at[id, "volume_ml"]
    assert said == pytest.approx(
        mask.get_fdata().sum() * np.prod(affine.diagonal()) / 1000, abs=1e-3
    )
    assert (hd.seg.segread(segments).pixel_array > 0).sum() == mask.get_fdata().sum()
    (group,) = hd.sr.srread(report).content.get_volumetric_roi_measurement_groups()
    assert group.get_measurements()[0].value == pytest.approx(said, abs=1e-3)
    call("predict", **asked, out=tmp_path / "p")  # goes on, and forgets no volume
    assert pd.read_csv(out / "volumes.csv").equals(table)
    shutil.rmtree(out / "archive")
    call("predict", **{**asked, "dicom": False}, out=tmp_path / "q")
    call("predict", **asked, out=tmp_path / "q")  # for an archive, too, what was predicted without
    assert len([*(tmp_path / "q/archive").iterdir()]) == 2
    assert pd.read_csv(out / "volumes.csv").equals(table)


def test_models_of_several_folds_are_averaged_and_say_how_far_they_are_apart(
    segmented, odd, cohort, tmp_path
):
    asked = {"scans": cohort / "images/case_0.nii.gz", "modality": "MR"}
    models = {"run": segmented / "tuned", "also": [segmented / "scratch"]}
    out = call("predict", **asked, **models, out=tmp_path / "both")
    table = pd.read_csv(out / "volumes.csv")
    assert list(table) == ["id", "class", "volume_ml", "sd_volume_ml"]
    alone = [
        pd.read_csv(call("predict", **asked, run=segmented / r, out=tmp_path / r) / "volumes.csv")
        for r in ("tuned", "scratch")
    ]
    sizes = [t["volume_ml"][0] for t in alone]
    assert table["sd_volume_ml"][0] == pytest.approx(np.std(sizes, ddof=1), rel=0.3, abs=0.1)
    with pytest.raises(UserError, match="target is not that of tuned"):
        call("predict", **asked, run=segmented / "tuned", also=[odd], out=tmp_path / "no")
    scored = call("predict", **asked, run=odd, also=[odd], out=tmp_path / "scores")
    assert pd.read_csv(scored / "scores.csv")[["sd_0", "sd_1"]].to_numpy().max() < 1e-6
