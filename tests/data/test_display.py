"""What Jupyter shows: small, escaped, without paths; pictures of what may be drawn only."""

import base64
import io
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data import display
from medssl.data.index import scan
from medssl.data.manifest import Manifest
from medssl.data.recipe import Recipe
from tests.data.test_store import make

EVIL = "<script>alert(1)</script>"


def pictures(html: str) -> list[Image.Image]:
    found = re.findall(r"data:image/\w+;base64,([^\"]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.fixture
def manifest(tmp_path):
    folder = tmp_path / "Smith_John"
    folder.mkdir()
    for name in ("a", "b"):
        image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
        nib.save(image, folder / f"Miller_{name}.nii.gz")
    (folder / "c.nii.gz").write_bytes(b"cut")
    manifest = Manifest.from_rows(folder, scan(folder, "MR"))
    manifest.table["split"] = ["train", "", ""]
    manifest.table["label_remark"] = [EVIL, "of Mrs Miller", ""]
    manifest.notes.append("Miller.csv: 2 scans labelled")
    return manifest


def test_a_manifest_is_shown_without_paths_notes_and_labels_of_single_scans(manifest):
    html = manifest._repr_html_()
    for part in ("2 scans of 2 patients", "nifti MR 2", "train 1, none 1", "remark", "3x4x5"):
        assert part in html
    refused = manifest.refused["code"].iloc[0]
    assert f"<td>{refused}</td>" in html and "Refused entries: 1" in html
    assert not re.search("Miller|Smith|nii.gz|script|/tmp|stamp", html)


def test_only_the_first_scans_are_listed(tmp_path):
    store = make(tmp_path / "s", [(8, 8, 8)] * 7)
    html = store._repr_html_()
    assert "7 scans of 4 patients" in html and "The first 5 of 7." in html
    assert html.count("<tr") == 1 + display.LISTED and len(pictures(html)) == display.DRAWN
    assert str(tmp_path) not in html


def test_scans_with_text_in_their_pixels_are_not_drawn(tmp_path):
    store = make(tmp_path / "s", [(8, 8, 8)] * 3)
    store.items["burned_in"] = [False, True, False]
    html = store._repr_html_()
    assert len(pictures(html)) == 2 and html.count("<figcaption") == 2
    assert html.count("case1") == 1  # in the table, not below a picture
    assert "case1" not in "".join(re.findall("<figcaption.*?</figcaption>", html))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA"])
def test_thumbnails_lie_as_a_radiologist_looks(tmp_path, codes):
    """Bright on the patient's right and in front: the picture's left and top, whatever the axes."""
    store = make(tmp_path / "s", [(40, 30, 20)], Recipe(orientation=codes))
    ras = np.zeros((40, 30, 20), np.float32)
    ras[30:, 20:] = 1
    turned = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    array = nib.orientations.apply_orientation(ras, turned)
    store.read = lambda item, low, high: array[None][
        (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    ]
    assert store.shape("case0") == array.shape
    grey = np.asarray(pictures(store._repr_html_())[0])
    rows, columns = (n // 2 for n in grey.shape)
    assert grey[: rows // 2, : columns // 3].min() > 200
    assert max(grey[rows + 8 :].max(), grey[:, columns + 8 :].max()) < 50
    assert grey.shape == (72, 96)  # 30 by 40 mm


def test_a_panel_escapes_all_that_it_is_given():
    table = pd.DataFrame({EVIL: [EVIL]})
    html = display.panel(EVIL, {EVIL: EVIL}, [(EVIL, table)], [(f'"{EVIL}', 3, EVIL)])
    assert "<script" not in html and html.count("&lt;script&gt;") >= 8


def test_grey_levels_and_thumbnails_of_odd_images():
    image = np.array([[np.nan, -5.0], [0.5, 9.0]])
    assert display.grey_levels(image, 0, 1).tolist() == [[0, 0], [128, 255]]
    source, width = display.thumbnail(np.ones((3, 300)), (1, 1))
    assert pictures(source + '"')[0].size == (96, 1) and width == 96


def test_what_is_shown_can_be_written_as_a_page(tmp_path):
    page = display.Shown("<p>ä</p>").write(tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "<p>ä</p>" in page and 'charset="utf-8"' in page
    assert display.Shown("<p>a</p>")._repr_html_() == "<p>a</p>"
