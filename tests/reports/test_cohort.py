import numpy as np
import pandas as pd

from medssl.reports import cohort

EMPTY = {
    "unreadable": {}, "copies": [], "likely_masks": [], "modality_doubts": {}, "unusual_spacing": []
}  # fmt: skip


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
        "unreadable": {"s3": "CUT: half of it"},
        "copies": [{"ids": ["s1", "s2"], "differ": ["split"]}],
        "likely_masks": ["s6"],
        "modality_doubts": {"s4": "CT without air"},
        "unusual_spacing": [{"id": "s5", "modality": "CT", "spacing": "9x9x9", "usual": "1x1x2"}],
    }
    image = np.random.default_rng(0).normal(size=(20, 30))
    path = cohort.write(tmp_path / "qc.html", table(9), findings, [("s1", image)] * 7,
                        [("<b>bad", "CUT", image)])  # fmt: skip
    page = path.read_text()
    for words in ("another split", "s1, s2", "CUT: half of it", "CT without air", "9x9x9",
                  "masks, most likely",
                  "&lt;b&gt;bad", "cut, fetch it", "pictures of refused", "histograms"):  # fmt: skip
        assert words in page, words
    assert "<b>bad" not in page and page.count("<img") == 3


def test_a_small_clean_cohort_has_no_empty_figure(tmp_path):
    page = cohort.write(tmp_path / "qc.html", table(2), EMPTY, []).read_text()
    assert "<img" not in page and "No two used scans" in page and "CAUTION" not in page


def test_splits_in_their_usual_order():
    assert cohort.by_split(table(6))["split"].tolist() == ["train", "test", "none"]


def test_what_is_the_same_throughout_is_said_and_not_drawn(tmp_path):
    alike = table(6).assign(spacing="1.5x1.5x3.0", shape="20x9x8", patient=[*"abcdef", "g"])
    page = cohort.write(tmp_path / "qc.html", alike, EMPTY, []).read_text()
    assert "<img" not in page and "all values are alike" not in page
    assert "The same throughout: in-plane voxel size, mm: 1.5; largest voxel size, mm: 3;" in page
    mixed = alike.assign(shape=[f"{20 + i}x9x8" for i in range(7)])
    page = cohort.write(tmp_path / "qc.html", mixed, EMPTY, []).read_text()
    assert page.count("<img") == 1 and "largest side, voxels: " not in page
