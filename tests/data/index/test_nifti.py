import gzip

import nibabel as nib
import numpy as np
import pytest

from medssl.data.index.nifti import inspect, read, read_header
from medssl.errors import UserError

AFFINE = np.array([[0, 0, 2.0, -5], [-1.5, 0, 0, 6], [0, 3.0, 0, 7], [0, 0, 0, 1]])


@pytest.fixture
def saved(tmp_path):
    def save(array=None, name="a.nii.gz", affine=AFFINE, kind=nib.Nifti1Image, edit=None):
        array = np.arange(60, dtype=np.int16).reshape(3, 4, 5) if array is None else array
        image = kind(array, affine)
        if edit:
            edit(image)
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return save


def patched(path, offset: int, values: np.ndarray):
    raw = bytearray(path.read_bytes())
    raw[offset : offset + values.nbytes] = values.tobytes()
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
@pytest.mark.parametrize("kind", [1, 2])
def test_values_and_place_equal_nibabel(saved, name, kind):
    single = {1: nib.Nifti1Image, 2: nib.Nifti2Image}
    pair = {1: nib.Nifti1Pair, 2: nib.Nifti2Pair}
    path = saved(name=name, kind=(pair if name == "a.hdr" else single)[kind])
    row = inspect([path])[0]
    assert (row.verdict, row.shape, row.spacing) == ("used", "3x4x5", "1.5x3.0x2.0")
    assert row.orientation == "PSR"
    assert [file.name for file in row.files] == (["a.hdr", "a.img"] if name == "a.hdr" else [name])
    volume = read(row.files)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array[0], np.asarray(nib.load(path).dataobj))
    assert np.allclose(volume.affine, AFFINE)


def test_big_endian_and_scaled_values_equal_nibabel(saved):
    array = np.linspace(0, 1, 60).reshape(3, 4, 5)
    path = saved(array, edit=lambda image: image.set_data_dtype(np.int16))
    assert np.allclose(read([path]).array[0], nib.load(path).get_fdata(), atol=1e-6)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(np.arange(60, dtype=">i2").reshape(3, 4, 5), AFFINE, header)
    nib.save(image, path)
    assert np.array_equal(read([path]).array[0].ravel(), np.arange(60))


def test_whole_scaling_keeps_integers(saved):
    path = patched(saved(name="a.nii"), 112, np.array([2, -1024], np.float32))
    volume = read([path])
    assert volume.array.dtype == np.int32
    assert np.array_equal(volume.array[0], nib.load(path).get_fdata())


def test_a_file_whose_suffix_lies_about_gzip_is_read_with_a_remark(saved, tmp_path):
    plain = saved(name="a.nii")
    liar = tmp_path / "b.nii.gz"
    liar.write_bytes(plain.read_bytes())
    row = inspect([liar])[0]
    assert row.used and "not gzipped" in row.remarks[0]
    assert np.array_equal(read([liar]).array, read([plain]).array)


def test_a_cut_plain_file_names_the_bytes(saved):
    path = saved(name="a.nii")
    path.write_bytes(path.read_bytes()[:-7])
    row = inspect([path])[0]
    assert row.code == "CUT" and "found 465 bytes, expected 472" in row.reason


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_cut_gzip_is_never_read(saved, share):
    array = np.random.default_rng(0).integers(0, 2000, (20, 20, 20)).astype(np.int16)
    path = saved(array)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError, match="CUT"):
        read([path])


def test_flipped_bytes_in_a_gzip_are_found_by_its_checksum(saved):
    array = np.random.default_rng(0).integers(0, 2000, (10, 10, 10)).astype(np.int16)
    path = saved(array)
    good = path.read_bytes()
    for at in range(400, len(good) - 8, 101):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(UserError):
            read([path])


def test_several_gzip_members_and_trailing_bytes(saved):
    path = saved()
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + b"rest")
    assert np.array_equal(read([path]).array.ravel(), np.arange(60))


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((3, 4, 5, 2), np.int16), "SERIES_4D"),
        (np.zeros((3, 4, 1, 2), np.int16), "SERIES_4D"),
        (np.zeros((3, 4, 5), np.complex64), "DTYPE"),
        (np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "DTYPE"),
    ],
)
def test_what_is_no_single_real_volume_is_refused(saved, array, code):
    assert inspect([saved(array)])[0].code == code


def test_a_fourth_axis_of_one_is_dropped(saved):
    row = inspect([saved(np.zeros((3, 4, 5, 1), np.int16))])[0]
    assert row.used and read(row.files).array.shape == (1, 3, 4, 5)


@pytest.mark.parametrize(
    ("offset", "values", "code"),
    [
        (80, np.zeros(3, np.float32), "GEOMETRY"),
        (280, np.full(12, np.nan, np.float32), "GEOMETRY"),
        (280, np.zeros(4, np.float32), "GEOMETRY"),
        (112, np.array([np.inf, 0], np.float32), "SCALE"),
        (42, np.array([-3], np.int16), "HEADER"),
        (42, np.full(3, 32767, np.int16), "CUT"),
        (70, np.array([9999], np.int16), "DTYPE"),
    ],
)
def test_hostile_headers_are_refused(saved, offset, values, code):
    row = inspect([patched(saved(name="a.nii"), offset, values)])[0]
    assert (row.verdict, row.code) == ("refused", code)


def test_unknown_and_contradicting_orientation_are_remarked(saved):
    def unknown(image):
        image.set_sform(None, 0)
        image.set_qform(None, 0)

    assert "orientation unknown" in inspect([saved(edit=unknown)])[0].remarks[0]
    flipped = AFFINE @ np.diag([-1, 1, 1, 1])
    both = saved(edit=lambda image: (image.set_sform(AFFINE, 1), image.set_qform(flipped, 1)))
    assert "qform and sform disagree" in " ".join(inspect([both])[0].remarks)


def test_a_header_without_its_image_file(saved):
    path = saved(name="a.hdr", kind=nib.Nifti1Pair)
    path.with_suffix(".img").unlink()
    with pytest.raises(UserError, match="MISSING"):
        read_header(path)


def test_labels_and_a_voxel_size_against_the_sform_are_remarked(saved, tmp_path):
    assert inspect([saved()])[0].remarks == []
    labels = saved(edit=lambda image: image.header.set_intent("label"))
    assert "holds labels" in "; ".join(inspect([labels])[0].remarks)

    def sform_alone(image):
        image.set_qform(None, 0)
        image.header["pixdim"][1:4] = (0.7, 0.7, 2)

    (remark,) = inspect([saved(edit=sform_alone)])[0].remarks
    assert remark.startswith("pixdim says 0.7x0.7x2.0 mm, the sform ")
