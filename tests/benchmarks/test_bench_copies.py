"""Planted copies in phantom films and volumes: what the search for copies finds.

Near copies are told from other patients in both. Hashes alone are not enough: of phantom films 97 % of the
pairs of a difference hash, and half of those of a perceptual one, are of two patients.

`python -m tests.benchmarks.planted STORE planted.csv` prints the same of any store, for all signatures.
"""

import pytest

from medssl.data.phantom import make
from medssl.data.store import Store
from medssl.stages import call
from tests.benchmarks.planted import planted

SURE = ("re-windowed", "noise", "JPEG", "resampled")


@pytest.mark.parametrize("kind", ["film", "ct"])
def test_copies_planted_in_phantoms(kind, tmp_path):
    count = {"ct": 8, "films": 0} if kind == "ct" else {"ct": 0, "films": 40}
    folder = make(tmp_path / "scans", scans_per_patient=1, mr=0, **count) / kind
    scans = folder / {"film": "png", "ct": "images"}[kind]
    call("index", scans=scans, modality={"film": "DX", "ct": "CT"}[kind], out=tmp_path / "m")
    recipe = {"intensity": "percentile"} | ({"spacing": [6, 6, 6]} if kind == "ct" else {})
    call("prepare", manifest=tmp_path / "m", out=tmp_path / "store", recipe=recipe)
    table = planted(Store.read_from(tmp_path / "store"))
    print(table.pivot(index="change", columns="signature", values="recall").round(2).to_string())
    print(table.pivot(index="change", columns="signature", values="precision").round(2).to_string())
    found = table.set_index(["signature", "change"])
    assert found.loc[("same pixels", "exact, turned"), ["recall", "precision"]].tolist() == [1, 1]
    for change in SURE:
        recall, precision = found.loc[("near copy", change), ["recall", "precision"]]
        assert recall >= 0.99 and precision >= 0.99, change
