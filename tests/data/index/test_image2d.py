import numpy as np
import pytest
from PIL import Image

from medssl.data.index import image2d
from medssl.data.index.image2d import inspect, read, read_labels
from medssl.errors import UserError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def saved(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_8_and_16_bit_are_exact(tmp_path, name, dtype):
    array = (np.arange(12).reshape(3, 4) * (5000 if dtype == np.uint16 else 20)).astype(dtype)
    path = saved(tmp_path / name, array)
    row = inspect([path])[0]
    assert (row.verdict, row.shape, row.remarks) == ("used", "3x4", ["pixel spacing unknown"])
    volume = read([path])
    assert volume.array.dtype == dtype and np.array_equal(volume.array[0], array)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_colour_modes_stays_exact_and_is_remarked(tmp_path, mode):
    path = saved(tmp_path / "a.png", GREY, mode)
    assert f"{mode} read as one grey channel" in inspect([path])[0].remarks
    assert np.array_equal(read([path]).array[0], GREY)


def test_real_colour_becomes_luminance(tmp_path):
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[..., 1] = 100
    assert (read([saved(tmp_path / "a.png", colour)]).array == 59).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", GREY, exif=exif)
    row = inspect([path])[0]
    assert row.shape == "4x3" and "turned as EXIF says (6)" in row.remarks
    assert np.array_equal(read([path]).array[0], np.rot90(GREY, -1))


def test_several_pages_and_too_many_pixels_are_refused(tmp_path, monkeypatch):
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert "2 pages" in inspect([tmp_path / "a.tif"])[0].reason
    path = saved(tmp_path / "a.png", GREY)
    monkeypatch.setattr(image2d, "MAX_PIXELS", 11)
    assert inspect([path])[0].code == "TOO_LARGE"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert inspect([path])[0].code == "TOO_LARGE"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_files_are_never_read(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60)).astype(np.uint8)
    path = saved(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert name == "a.tif" or inspect([path])[0].code in ("CUT", "UNREADABLE")
    with pytest.raises(UserError):
        read([path])


def test_palette_indices_are_labels(tmp_path):
    labels = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [9] * 759)
    labels.save(tmp_path / "m.png")
    assert read_labels(tmp_path / "m.png").array.tolist() == [[[0, 1], [2, 1]]]
    assert read([tmp_path / "m.png"]).array.max() > 2
