import numpy as np
import pytest
from PIL import Image

from medssl.data.index.film_structure import check_whole
from medssl.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 5}, {"restart_marker_blocks": 1}]
)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_good_jpegs_pass(tmp_path, options, mode):
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).convert(mode).save(path, comment=b"\xff\xd8 words", **options)
    check_whole(path, "JPEG")


def test_a_marker_in_the_middle_of_jpeg_data_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(path)
    raw = bytearray(path.read_bytes())
    scan = raw.index(b"\xff\xda")
    for marker in (b"\xff\xc0", b"\xff\xd8", b"\xff\x01"):
        path.write_bytes(raw[: scan + 200] + marker + raw[scan + 202 :])
        with pytest.raises(UserError, match="HEADER .*where a JPEG segment must begin"):
            check_whole(path, "JPEG")
