import numpy as np
from PIL import Image

from medssl.data.phantom import write_png


def test_sixteen_bits_are_kept(tmp_path):
    film = np.array([[0, 1, 4095], [7, 100, 2048]], np.uint16)
    write_png.film(tmp_path / "sub/film.png", film)
    with Image.open(tmp_path / "sub/film.png") as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), film * 16)
