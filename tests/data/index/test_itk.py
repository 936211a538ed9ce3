import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data.index.itk import inspect, read
from medssl.errors import UserError


@pytest.fixture
def image():
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(5, 4, 3))
    image.SetSpacing((1.0, 2.0, 2.5))
    image.SetOrigin((10, 20, 30))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    return image


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
def test_values_and_place_equal_simpleitk(image, tmp_path, name, packed):
    sitk.WriteImage(image, tmp_path / name, packed)
    row = inspect([tmp_path / name])[0]
    assert (row.verdict, row.shape, row.spacing) == ("used", "3x4x5", "1.0x2.0x2.5")
    assert len(row.files) == (2 if name in ("a.mhd", "a.nhdr") else 1)
    volume = read(row.files)
    assert volume.array.dtype == np.int16 and volume.orientation == row.orientation
    for index in ((0, 0, 0), (2, 1, 3), (1, 3, 4)):
        assert volume.array[(0, *index)] == image[index]
        lps = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose((volume.affine @ [*index, 1])[:3], np.multiply(lps, [-1, -1, 1]))


def test_a_2d_file_is_a_film(tmp_path):
    flat = sitk.GetImageFromArray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    flat.SetSpacing((0.1, 0.2))
    sitk.WriteImage(flat, tmp_path / "a.mha")
    row = inspect([tmp_path / "a.mha"])[0]
    assert (row.shape, row.spacing) == ("2x3", "0.2x0.1")
    assert read(row.files).spacing == (0.2, 0.1)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_cut_files_are_refused(image, tmp_path, name):
    path = tmp_path / name
    sitk.WriteImage(image, path, False)
    path.write_bytes(path.read_bytes()[:-5])
    row = inspect([path])[0]
    assert row.code == "CUT" and "found 115 bytes, expected 120" in row.reason


@pytest.mark.parametrize(
    ("name", "key"), [("a.mhd", "ElementDataFile ="), ("a.nhdr", "data file:")]
)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_data_file_outside_the_folder_is_never_read(image, tmp_path, name, key, absolute):
    folder = tmp_path / "scans"
    folder.mkdir()
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"s" * 1000)
    sitk.WriteImage(image, folder / name, False)
    lines = (folder / name).read_text().splitlines()
    target = str(secret) if absolute else "../secret.raw"
    lines = [f"{key} {target}" if line.startswith(key) else line for line in lines]
    (folder / name).write_text("\n".join(lines) + "\n")
    assert inspect([folder / name])[0].code == "OUTSIDE"
    with pytest.raises(UserError, match="OUTSIDE"):
        read([folder / name])
    (folder / "link.raw").symlink_to(secret)
    (folder / name).write_text((folder / name).read_text().replace(target, "link.raw"))
    assert inspect([folder / name])[0].code == "OUTSIDE"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("ElementDataFile = a.raw", "ElementDataFile = LIST", "UNSUPPORTED"),
        ("ElementDataFile = a.raw", "ElementDataFile = b.raw", "MISSING"),
        ("ElementSpacing = 1 2 2.5", "ElementSpacing = 1 0 2.5", "GEOMETRY"),
        ("ElementSpacing = 1 2 2.5\n", "", "GEOMETRY"),
        ("MET_SHORT", "MET_STRING", "DTYPE"),
        ("DimSize = 3 4 5", "DimSize = 3 4 -5", "HEADER"),
        ("DimSize = 3 4 5", "DimSize = 3 x 5", "HEADER"),
        ("DimSize = 3 4 5", "DimSize = 300 4 5", "CUT"),
    ],
)
def test_bad_headers_are_refused(image, tmp_path, old, new, code):
    sitk.WriteImage(image, tmp_path / "a.mhd", False)
    text = (tmp_path / "a.mhd").read_text()
    assert old in text
    (tmp_path / "a.mhd").write_text(text.replace(old, new))
    assert inspect([tmp_path / "a.mhd"])[0].code == code


def test_vector_images_are_refused(tmp_path):
    vector = sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.float32), isVector=True)
    for name in ("a.mha", "a.nrrd"):
        sitk.WriteImage(vector, tmp_path / name)
        assert inspect([tmp_path / name])[0].verdict == "refused"
