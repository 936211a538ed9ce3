"""F5, P7: a single bit that changes in a checkpoint, a store or a manifest is noticed when it is used."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from medssl.data.crops import Crops, CropSpec
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.stages import call
from medssl.training import checkpoint
from tests.data.test_store import make
from tests.faults import good

FLIPS = 200


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint, a model, a store and a manifest."""
    folder = tmp_path_factory.mktemp("flips")
    for step in (1, 2):
        net = nn.Linear(9, 9)
        checkpoint.save_state(
            folder / "checkpoints", step, net.state_dict(), {"optimizer": {"a": torch.ones(50)}}
        )
    card = {k: {} for k in checkpoint.KEYS[0]} | {"kind": "pretrained", "steps": 1}
    checkpoint.save_model(folder / "model", {"backbone": nn.Linear(9, 9)}, card)
    make(folder / "store", [(20, 24, 20), (18, 22, 26), (24, 16, 20)])
    (folder / "scans").mkdir()
    good.nifti(folder / "scans", "case_1.nii", good.voxels((20, 20, 20)))
    call("index", scans=folder / "scans", modality="MR", out=folder / "manifest")
    return folder


def of_checkpoint(folder: Path) -> None:
    assert checkpoint.load_state(folder / "checkpoints")[1]["step"] == 2, "the one before was taken"


def of_model(folder: Path) -> None:
    checkpoint.load_weights(folder, nn.Linear(9, 9), "backbone")


def of_store(folder: Path) -> None:
    """Whatever a run reads of it."""
    store = Store.read_from(folder / "store")
    spec = CropSpec((8, 8, 8), foreground=1.0, mask=True)
    crops = Crops(store, list(store.items.index), spec, seed=0)
    for sample in range(len(crops)):
        crops[sample]


def of_manifest(folder: Path) -> None:
    Manifest.root_of(folder / "manifest")
    Manifest.read(folder / "manifest")


USES = {
    "checkpoints/step-00000002/*": of_checkpoint, "model/weights.safetensors": of_model,
    "store/store.json": of_store, "store/items.parquet": of_store, "store/arrays/*": of_store,
    "manifest/manifest.parquet": of_manifest,
}  # fmt: skip


def noticed(use, folder: Path) -> bool:
    try:
        use(folder)
    except UserError:
        return True
    except AssertionError as error:
        return "the one before" in str(error)
    return False


def test_what_is_whole_is_taken(files):
    assert not any(noticed(use, files) for use in USES.values())


def test_every_one_of_200_flips_is_noticed(files):
    draw, missed = random.Random(0), []
    for number in range(FLIPS):
        pattern, use = list(USES.items())[number % len(USES)]
        path = draw.choice(sorted(files.glob(pattern)))
        whole = path.read_bytes()
        bit = draw.randrange(8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        if not noticed(use, files):
            missed.append((path.name, bit))
        path.write_bytes(whole)
    assert missed == []


def test_a_scan_whose_prepared_array_has_rotted_is_named_and_prepared_again(files):
    path = files / "store/arrays/key1.image.b2nd"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(
        UserError, match=r"STORE case1: .*key1.image.b2nd .*checksum differs.*prepare` again"
    ):
        of_store(files)
    assert not Store.read_from(files / "store").entries.has("key1", mask=True)
    path.write_bytes(whole)
