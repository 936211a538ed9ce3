"""The verb: a manifest out to a tool's dataset, trained on by nobody, and back."""

import json

import pytest

from medssl.data.manifest import Manifest
from medssl.data.phantom import make
from medssl.errors import UserError
from medssl.stages import call


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    top = tmp_path_factory.mktemp("convert")
    make(top / "s", ct=2, seed=8)
    call("index", scans=top / "s/ct/images", labels=[top / "s/ct/labels"], modality="CT",
         patient_pattern="(p[0-9]+)_", out=top / "m")  # fmt: skip
    return top / "m"


def test_there_and_back_and_on_into_a_store(manifest, tmp_path, capsys):
    out = call("convert", source=manifest, to="nnunet", out=tmp_path / "Dataset101_Phantom")
    assert "wrote 4 scans" in capsys.readouterr().err
    back = call("convert", source=out, out=tmp_path / "m")
    told = capsys.readouterr().err
    assert "nnunet: 4 scans used, patients: 2" in told
    store = call(
        "prepare", "ct_body", manifest=back, out=tmp_path / "s", recipe={"spacing": [3] * 3}
    )
    again = call("prepare", "ct_body", manifest=manifest, out=tmp_path / "t",
                 recipe={"spacing": [3] * 3})  # fmt: skip
    names = [sorted(p.name for p in folder.rglob("*.b2nd")) for folder in (store, again)]
    assert len(names[0]) == len(names[1]) > 0


def test_a_decathlon_dataset_becomes_a_manifest(manifest, tmp_path):
    call("convert", source=manifest, to="nnunet", out=tmp_path / "Dataset101_Phantom")
    folder = tmp_path / "Dataset101_Phantom"
    ids = Manifest.read(manifest).used["id"]
    listing = {
        "name": "Liver", "modality": {"0": "MRI"}, "test": ["./imagesTr/absent.nii.gz"],
        "training": [{"image": f"./imagesTr/{id}_0000.nii.gz", "label": f"./labelsTr/{id}.nii.gz"}
                     for id in ids],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(listing))
    with pytest.raises(UserError, match="absent.nii.gz"):
        call("convert", source=folder / "dataset.json", out=tmp_path / "m")
    (folder / "dataset.json").write_text(json.dumps({**listing, "test": []}))
    made = Manifest.read(call("convert", source=folder / "dataset.json", out=tmp_path / "m"))
    assert made.used["modality"].eq("MR").all() and made.used["split"].eq("train").all()
    assert made.mask(made.used["id"].iloc[0]).array.max() > 0


def test_what_makes_no_sense_is_refused(manifest, tmp_path):
    cases = [
        ({"source": manifest, "out": tmp_path / "x"}, "is a manifest already"),
        ({"source": tmp_path, "out": tmp_path / "x"}, "dataset of a known format"),
        ({"source": manifest, "to": "bids", "out": manifest.parent / "s/ct/images/b"}, "among"),
        ({"source": manifest, "to": "csvv", "out": tmp_path / "x"}, "csv"),
    ]
    for values, words in cases:
        with pytest.raises(UserError, match=words):
            call("convert", **values)
    assert not (tmp_path / "x").exists()
