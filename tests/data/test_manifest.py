import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image

from medssl.data.index import scan
from medssl.data.manifest import COLUMNS, Manifest
from medssl.data.volume import Volume, reorient
from medssl.errors import UserError

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def put(path, array=ARRAY, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1, 2, 3, 1.0]) if affine is None else affine), path)


@pytest.fixture
def manifest(tmp_path):
    put(tmp_path / "scans" / "a.nii.gz")
    put(tmp_path / "scans" / "b.nii.gz")
    (tmp_path / "scans" / "notes.txt").write_text("x")
    return Manifest.from_rows(tmp_path / "scans", scan(tmp_path / "scans", "MR"))


def test_what_is_written_is_read_also_after_a_move(manifest, tmp_path):
    manifest.table["label_age"] = pd.array([40, None, None], dtype="Int64")
    manifest.notes.append("a note")
    manifest.write(tmp_path / "m")
    (tmp_path / "moved").mkdir()
    for name in ("m", "scans"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    for path in (tmp_path / "moved/m", tmp_path / "moved/m/manifest.parquet"):
        again = Manifest.read(path)
        pd.testing.assert_frame_equal(again.table, manifest.table)
        assert again.notes == ["a note"] and again.root == (tmp_path / "moved/scans").resolve()
        volume = again.volume("a")
        assert np.array_equal(volume.array[0], ARRAY) and volume.modality == "MR"
    assert len(pd.read_csv(tmp_path / "moved/m/manifest.csv")) == 3
    assert len(list((tmp_path / "moved/m").iterdir())) == 2


def test_columns_and_views(manifest):
    assert tuple(manifest.table.columns) == COLUMNS
    assert manifest.used["id"].tolist() == ["a", "b"]
    assert manifest.refused["code"].tolist() == ["NOT_IMAGE"]
    row = manifest.row("a")
    assert (row["shape"], row["spacing"], row["orientation"]) == ("3x4x5", "1.0x2.0x3.0", "RAS")
    assert row["path"] == "a.nii.gz" and row["patient"].startswith("p-")


def test_what_is_no_manifest_is_refused(manifest, tmp_path):
    with pytest.raises(UserError, match="MANIFEST"):
        Manifest.read(tmp_path / "nothing")
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "manifest.parquet")
    with pytest.raises(UserError, match="schema missing"):
        Manifest.read(tmp_path)
    table = pyarrow.parquet.read_table(manifest.write(tmp_path / "m") / "manifest.parquet")
    metadata = {b"medssl": b'{"schema": 99, "root": ".", "notes": []}'}
    pyarrow.parquet.write_table(
        table.replace_schema_metadata(metadata), tmp_path / "manifest.parquet"
    )
    with pytest.raises(UserError, match="schema 99, this version reads 1"):
        Manifest.read(tmp_path)


def test_refused_and_unknown_scans_have_no_volume(manifest):
    with pytest.raises(UserError, match="REFUSED"):
        manifest.volume("notes.txt")
    with pytest.raises(UserError, match="MANIFEST"):
        manifest.volume("c")


def test_masks_must_lie_on_the_scans_grid(manifest, tmp_path):
    assert manifest.mask("a") is None
    labels = (ARRAY % 3).astype(np.float32)
    put(tmp_path / "labels" / "a.nii.gz", labels)
    manifest.table.loc[0, "label_mask"] = "../labels/a.nii.gz"
    mask = manifest.mask("a", manifest.volume("a"))
    assert mask.array.dtype.kind in "iu" and np.array_equal(mask.array[0], labels)
    put(tmp_path / "labels" / "a.nii.gz", labels, np.diag([1, 2, 3.1, 1]))
    with pytest.raises(
        UserError, match="GEOMETRY a: .*spacing 1x2x3.1, not 1x2x3; corners .* 0.4 mm"
    ):
        manifest.mask("a")
    for bad in (labels + 0.5, labels - 1):
        put(tmp_path / "labels" / "a.nii.gz", bad)
        with pytest.raises(UserError, match="LABELS"):
            manifest.mask("a")


def test_recoded_values_are_replaced_all_at_once_also_after_reading_it_again(manifest, tmp_path):
    labels = (ARRAY % 5).astype(np.uint8)
    put(tmp_path / "labels" / "a.nii.gz", labels)
    manifest.table.loc[0, "label_mask"] = "../labels/a.nii.gz"
    manifest.recode = {2: 1, 1: 300, 4: 0, 900: 3}
    again = Manifest.read(manifest.write(tmp_path / "m"))
    assert again.recode == manifest.recode == again.part(again.table.head(1)).recode
    expected = np.array([0, 300, 1, 3, 0])[labels]
    for one in (manifest, again):
        assert np.array_equal(one.mask("a").array[0], expected)


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL"])
def test_masks_with_axes_in_another_order_are_turned_to_the_scans(manifest, tmp_path, codes):
    manifest.table.loc[0, "label_mask"] = "../labels/a.nii.gz"
    turned = reorient(Volume(ARRAY[None], np.diag([1, 2, 3, 1.0])), codes)
    put(tmp_path / "labels" / "a.nii.gz", turned.array[0], turned.affine)
    assert np.array_equal(manifest.mask("a").array[0], ARRAY)
    turned.affine[:3, 3] += 0.1
    put(tmp_path / "labels" / "a.nii.gz", turned.array[0], turned.affine)
    with pytest.raises(UserError, match="GEOMETRY a: .*corners"):
        manifest.mask("a")


def test_a_films_mask_of_0_and_255_is_binary(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(folder / "f.png")
    Image.fromarray(np.eye(4, 6, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    manifest = Manifest.from_rows(folder, scan(folder))
    manifest.table["label_mask"] = "../m.png"
    assert np.array_equal(manifest.mask("f").array[0], np.eye(4, 6))


def test_summary_and_notebook_view(manifest):
    manifest.table["split"] = ["train", "test", ""]
    text = manifest.summary()
    for part in (
        "2 scans used, patients: 2; 1 entries refused",
        "nifti MR 2",
        "train 1",
        "NOT_IMAGE 1",
    ):
        assert part in text
    manifest.notes.append("<script>")
    assert "<script>" not in manifest._repr_html_() and "<table" in manifest._repr_html_()


def test_formulas_are_quoted_in_the_csv_only(manifest, tmp_path):
    manifest.table["label_x"] = ["=HYPERLINK(1)", "-1", "plain"]
    manifest.write(tmp_path / "m")
    assert Manifest.read(tmp_path / "m").table["label_x"].tolist()[0] == "=HYPERLINK(1)"
    shown = pd.read_csv(tmp_path / "m" / "manifest.csv")["label_x"].tolist()
    assert shown == ["'=HYPERLINK(1)", "-1", "plain"]


def test_splits_may_be_those_of_a_store_that_drew_them_anew(manifest):
    ids = manifest.used["id"].tolist()
    items = pd.DataFrame({"split": ["fold"]}, index=ids[:1])
    found = manifest.split_as(items).set_index("id")["split"]
    assert (
        found[ids[0]] == "fold"
        and (found[ids[1:]] == manifest.table.set_index("id")["split"][ids[1:]]).all()
    )
