import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medssl.data import index
from medssl.data.index import READERS, Row, read, scan
from medssl.data.phantom import make
from medssl.errors import UserError


@pytest.fixture
def mixed(tmp_path, slice_of, save):
    """A folder of everything: a CT series, NIfTI, a pair, a PNG, broken files and sidecars."""
    save([slice_of(k) for k in range(4)], "ct")
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4))
    nib.save(image, tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Pair(image.dataobj, np.eye(4)), tmp_path / "pair.hdr")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "film.png")
    for name, content in {
        "empty.dcm": b"", "page.nii.gz": b"<html>", "labels.csv": b"id,y\n", "a b\n.txt": b"x",
        "cut.nii": (tmp_path / "pair.hdr").read_bytes()[:200], "noise": bytes(range(256)) * 40,
        "half.dcm": bytes(128) + b"DICM" + bytes(range(200)),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_every_file_is_in_one_row_with_a_verdict(mixed):
    rows = scan(mixed, "mr")
    files = [file for row in rows for file in row.files]
    assert sorted(files) == sorted(path for path in mixed.rglob("*") if path.is_file())
    used = {row.id: row for row in rows if row.used}
    assert len({row.id for row in rows}) == len(rows)
    assert {"a", "pair", "film"} < set(used) and len(used) == 4
    for row in rows:
        assert row.verdict in ("used", "refused")
        assert row.used or (row.code and row.reason)
    assert {row.modality for row in used.values()} == {"CT", "MR"}


def test_used_rows_can_be_read(mixed):
    for row in scan(mixed):
        if row.used:
            volume = read(row)
            assert "x".join(map(str, volume.shape)) == row.shape
            assert volume.orientation == row.orientation


def test_the_input_is_left_alone(mixed):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in mixed.rglob("*")}
    scan(mixed)
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in mixed.rglob("*")}


def test_a_second_scan_says_the_same(mixed):
    assert [r.record(mixed) for r in scan(mixed)] == [r.record(mixed) for r in scan(mixed)]


def test_an_exception_of_a_peer_becomes_a_user_error(mixed, monkeypatch):
    from medssl.data.index import nifti

    def explode(*_):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(nifti, "read_header", explode)
    row = scan(mixed / "a.nii.gz")[0]
    assert row.code == "UNREADABLE" and "ZeroDivisionError: by zero" in row.reason
    with pytest.raises(UserError, match="UNREADABLE"):
        read([mixed / "a.nii.gz"])


@pytest.mark.parametrize("format", READERS)
def test_every_reader_refuses_noise(tmp_path, format):
    path = tmp_path / "noise"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    rows = index._reader(format).inspect([path])
    assert [row.verdict for row in rows] == ["refused"]
    with pytest.raises(UserError):
        read(Row([path], format))


def test_nan_voxels_are_refused_and_odd_ones_remarked_in_every_format(tmp_path):
    array = np.ones((3, 4, 5), np.float32)
    for value, code in ((np.nan, "NONFINITE"), (3e38, ""), (1.0, "")):
        array[1, 1, 1] = value
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
        if code:
            with pytest.raises(UserError, match="NONFINITE.*1 of 60"):
                read([tmp_path / "a.nii"])
        else:
            assert len(read([tmp_path / "a.nii"]).remarks) == 1


def test_raw_data_that_looks_like_another_format_belongs_to_its_header(tmp_path):
    raw = np.arange(60, dtype=np.uint8)
    raw[:8] = [8, 0, 5, 0, 10, 0, 0, 0]  # as an implicit DICOM dataset begins
    array = raw.reshape(3, 4, 5, order="F")
    nib.save(nib.Nifti1Pair(array, np.eye(4)), tmp_path / "a.hdr")
    assert index.identify(tmp_path / "a.img") == "dicom"
    assert [(row.format, row.used, len(row.files)) for row in scan(tmp_path)] == [
        ("nifti", True, 2)
    ]


def test_workers_give_the_same_rows(tmp_path):
    make(tmp_path, ct=3, films=2, formats=("dicom", "nifti"), seed=3)
    (tmp_path / "torn.dcm").write_bytes(bytes(128) + b"DICM" + b"\0" * 30)
    rows = [[row.record(tmp_path) for row in scan(tmp_path, workers=workers)] for workers in (0, 2)]
    assert rows[0] == rows[1] and sum(len(row["files"]) > 300 for row in rows[0]) > 0
