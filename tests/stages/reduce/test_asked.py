"""What is asked, and refused where it contradicts itself."""

import pytest

from medssl.config import Part
from medssl.curation.signatures import SIGNATURES
from medssl.errors import UserError
from medssl.stages import call
from medssl.stages.reduce import Config
from tests.stages.reduce.made import reduced


def test_help_tells_the_thresholds_of_all_signatures():
    told = Config.model_fields["threshold"].description
    for name in SIGNATURES:
        target = Part(name=name).target(SIGNATURES, "signature")
        words = "of hashes 6 bits" if name.endswith("hash") else f"{name} {target.threshold:g}"
        assert words in told and (target.threshold == 6 or "hash" not in name), name


def test_stores_of_other_axes_are_refused_or_compared_by_slices(store, films, tmp_path):
    with pytest.raises(UserError, match="against=.*2 axes"):
        reduced(store, tmp_path, against=films / "sa")
    few = {
        "keep": "coreset",
        "signature": {"name": "embedding", "size": [64, 64]},
        "budget": 5,
        "copies": "none",
    }
    assert reduced(store, tmp_path, target=films / "sa", **few).table["kept"].sum() == 5
    assert (
        reduced(films / "sb", tmp_path / "b", target=store, **few | {"budget": 2}).about["kept"]
        == 2
    )
    network = {"name": "res_unet", "channels": [4, 8], "blocks": 1}
    few |= {
        "unit": "scans",
        "backbone": network,
        "signature": {"name": "embedding", "size": [16] * 3},
    }
    with pytest.raises(UserError, match="target=.*2 axes"):
        reduced(store, tmp_path / "c", target=films / "sa", **few)


BAD = {
    "volumes of whole scans": ({"unit": "scans", "scope": "volume"}, "scope=volume"),
    "every in a cohort": ({"signature": "every", "scope": "cohort"}, "signature=every"),
    "a coreset of hashes": ({"keep": "coreset"}, "keep=coreset"),
    "a model for hashes": ({"model": "x"}, "model"),
    "a threshold for a budget": ({"keep": "k_centre", "threshold": 3}, "threshold"),
    "a budget for a threshold": ({"budget": 0.3}, "budget: keep=first goes by a threshold"),
    "a target for a threshold": ({"target": "x"}, "target: keep=first has none"),
    "a network for hashes": ({"backbone": {"name": "res_unet"}}, "backbone: is only asked by"),
    "two networks": (
        {"signature": "embedding", "model": ".", "backbone": {"name": "res_unet"}},
        r"backbone: \. brings its own",
    ),
    "more bits than there are": (
        {"threshold": 65},
        "threshold=65: no two are further apart than 64",
    ),
    "a threshold for nothing": ({"keep": "all", "threshold": 3}, "keep=all goes by copies alone"),
    "a budget for nothing": ({"keep": "all", "budget": 3}, "keep=all goes by copies alone"),
    "parts of a bit": ({"threshold": 0.9}, "bits are counted.*whole number"),
    "a coreset of volumes": (
        {"keep": "coreset", "signature": "embedding", "target": "x", "scope": "volume"},
        "scope=volume: a coreset is chosen from all",
    ),
    "an image of no size": ({"signature": {"name": "embedding", "size": [0, 8]}}, "signature.size"),
    "half a scan": ({"keep": "k_centre", "budget": 2.5}, "budget"),
    "no such signature": ({"signature": "dhsah"}, "did you mean"),
    "no such option": ({"signature": {"name": "ssim", "sied": 3}}, "sied"),
    "no such split": ({"splits": ["nowhere"]}, "no scan has one of these splits"),
    "a network of volumes": (
        {"signature": {"name": "embedding", "size": [8, 8, 8]}, "backbone": {"name": "res_unet"}},
        "slices have 2 axes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_contradicts_itself_is_refused_before_any_work(store, tmp_path, case):
    given, words = BAD[case]
    with pytest.raises(UserError, match=words):
        call("reduce", store=store, out=tmp_path / "out", **given)
    assert not (tmp_path / "out/selection.parquet").exists()
