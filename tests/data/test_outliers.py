import numpy as np
import pandas as pd

from medssl.data.outliers import mask_remark, modality_doubt, spacing_outliers
from medssl.data.volume import Volume


def cohort(spacings: list[str], modality="CT") -> pd.DataFrame:
    ids = [f"s{i}" for i in range(len(spacings))]
    return pd.DataFrame({"id": ids, "modality": modality, "spacing": spacings})


def test_a_voxel_size_far_from_the_usual_is_found_whatever_the_order_of_axes():
    usual = ["0.7x0.7x5.0", "5.0x0.7x0.7", "0.8x0.8x5.0", "0.7x0.7x4.0"] * 3
    found = spacing_outliers(cohort([*usual, "0.7x0.7x25.0", "0.05x0.7x5.0"]))
    assert found["id"].tolist() == ["s12", "s13"] and found["usual"].iloc[0] == "0.7x0.7x5"
    assert spacing_outliers(cohort(usual)).empty


def test_a_cohort_that_is_spread_or_small_has_no_outlier():
    spread = [f"{s}x{s}x{s}" for s in (0.4, 0.6, 0.9, 1.3, 2.0, 3.0, 4.5, 6.5)]
    assert spacing_outliers(cohort(spread)).empty
    assert spacing_outliers(cohort(["1x1x1"] * 3 + ["9x9x9"])).empty


def test_modalities_and_films_are_judged_apart():
    both = pd.concat([cohort(["1x1x1"] * 9), cohort(["4x4x4"] * 9, "MR"), cohort(["0.1x0.1"] * 9)])
    assert spacing_outliers(both.reset_index(drop=True)).empty


def test_values_that_belie_the_modality():
    def scan(modality, low, high):
        array = np.linspace(low, high, 125).reshape(1, 5, 5, 5)
        return Volume(array, np.eye(4), modality)

    assert "no HU" in modality_doubt(scan("CT", 0, 255))
    assert "as those of CT" in modality_doubt(scan("MR", -1024, 300))
    for fine in (scan("CT", -1024, 2000), scan("MR", 0, 900), scan("", 0, 255)):
        assert modality_doubt(fine) == ""


def listed(**of_path) -> pd.DataFrame:
    words = {True: "may be a mask: it has a name", False: ""}
    rows = [
        {"path": p.replace("__", "/") + ".nii", "remarks": words[m]} for p, m in of_path.items()
    ]
    return pd.DataFrame(rows)


def test_likely_masks_are_counted_and_the_way_out_fits_their_folders():
    used = listed(t1__a=False, m__a_x=True, t1__b=False, m__b_x=True)
    assert mask_remark(used, "S") == (
        "2 of 4 used scans may be masks: each has another scan's name with more behind it, and its "
        "grid (m/a_x.nii, t1/a.nii). If they are masks, give labels=S/m, or index S/t1"
    )
    assert mask_remark(listed(a=False, m__a_x=True), "S").endswith("give labels=S/m")
    assert "column seg of a CSV" in mask_remark(listed(a=False, a_x=True), "S")
    assert "column seg of a CSV" in mask_remark(
        listed(p__a=False, p__m__a_x=True, q__m__a_x=True), "S"
    )
    assert mask_remark(listed(a=False), "S") == ""
