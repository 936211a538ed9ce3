import numpy as np
import pandas as pd

from medssl.reports import cohort
from medssl.reports.cohort import Picture

EMPTY = {
    "unreadable": {}, "copies": [], "likely_masks": [], "modality_doubts": {}, "unusual_spacing": [],
    "n_masks": 0, "unusable_masks": {}, "empty_masks": [], "unusual_masks": {},
}  # fmt: skip


NO_CLASSES = pd.DataFrame(columns=["value", "masks", "median", "smallest", "largest", "unit"])


def table(n: int) -> pd.DataFrame:
    rows = [
        {"id": f"s{i}", "patient": f"p{i % 3}", "modality": "CT", "format": "nifti",
         "spacing": f"{1 + i / 10}x1.0x2.0", "shape": f"{10 + i}x9x8", "label_mask": "",
         "split": ["train", "test", ""][i % 3], "verdict": "used", "code": "", "reason": ""}
        for i in range(n)
    ]  # fmt: skip
    bad = {
        **rows[0],
        "id": "<b>bad",
        "verdict": "refused",
        "code": "CUT",
        "reason": "cut, fetch it",
    }
    return pd.DataFrame([*rows, bad])


def test_everything_found_stands_on_the_page_escaped(tmp_path):
    findings = {
        **EMPTY,
        "unreadable": {"s3": "CUT: half of it"},
        "copies": [{"ids": ["s1", "s2"], "differ": ["split"]}],
        "likely_masks": ["s6"],
        "modality_doubts": {"s4": "CT without air"},
        "unusual_spacing": [{"id": "s5", "modality": "CT", "spacing": "9x9x9", "usual": "1x1x2"}],
    }
    image = np.random.default_rng(0).normal(size=(20, 30))
    path = cohort.write(tmp_path / "qc.html", table(9), findings, NO_CLASSES,
                        [Picture("s1", image)] * 7, [], [Picture("<b>bad", image)])  # fmt: skip
    page = path.read_text()
    for words in ("another split", "s1, s2", "CUT: half of it", "CT without air", "9x9x9",
                  "masks, most likely",
                  "&lt;b&gt;bad", "cut, fetch it", "pictures of refused", "histograms"):  # fmt: skip
        assert words in page, words
    assert "<b>bad" not in page and page.count("<img") == 3


def test_a_small_clean_cohort_has_no_empty_figure(tmp_path):
    page = cohort.write(tmp_path / "qc.html", table(2), EMPTY, NO_CLASSES, []).read_text()
    assert "<img" not in page and "No two used scans" in page and "CAUTION" not in page


def test_splits_in_their_usual_order():
    assert cohort.by_split(table(6))["split"].tolist() == ["train", "test", "none"]


def test_what_is_the_same_throughout_is_said_and_not_drawn(tmp_path):
    alike = table(6).assign(spacing="1.5x1.5x3.0", shape="20x9x8", patient=[*"abcdef", "g"])
    page = cohort.write(tmp_path / "qc.html", alike, EMPTY, NO_CLASSES, []).read_text()
    assert "<img" not in page and "all values are alike" not in page
    assert "The same throughout: in-plane voxel size, mm: 1.5; largest voxel size, mm: 3;" in page
    mixed = alike.assign(shape=[f"{20 + i}x9x8" for i in range(7)])
    page = cohort.write(tmp_path / "qc.html", mixed, EMPTY, NO_CLASSES, []).read_text()
    assert page.count("<img") == 1 and "largest side, voxels: " not in page


def test_hundreds_of_classes_stay_a_short_table_with_the_unusual_ones_in_it(tmp_path):
    n = 300
    classes = pd.DataFrame({
        "value": range(1, n + 1), "masks": [9] * (n - 1) + [2], "median": 1.0, "smallest": 0.5,
        "largest": 2.0, "unit": "ml",
    })  # fmt: skip
    odd = [{"value": n - k, "size": k / 10, "usual": 1.0, "unit": "ml"} for k in range(9)]
    findings = EMPTY | {
        "n_masks": 9,
        "unusual_masks": {"s1": odd},
        "unusable_masks": {"s2": "GEOMETRY: another <grid>"},
        "empty_masks": ["s3"],
    }
    mask = np.arange(600).reshape(20, 30) % n
    pictures = [Picture("s1", np.random.default_rng(0).normal(size=mask.shape), mask)]
    path = cohort.write(tmp_path / "qc.html", table(3), findings, classes, pictures, pictures)
    page = path.read_text()
    assert "Size of 30 of 300 classes" in page and "classes.csv" in page
    assert page.count('<td>ml</td><td class="n">') == 30 and '<td class="n">300</td>' in page
    assert "<td>300</td>" in page and "299: 0.1 ml, usually 1; " in page and "2 more" in page
    assert "another &lt;grid&gt;" in page and page.count("<img") == 2
