import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.base import build
from medssl.data.crops import Crops, CropSpec
from medssl.training.log import MetricsLog
from medssl.training.watch import Watch
from tests.data.test_store import make

AUGMENT = augmenter(Augment(), (-5.0, 5.0))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make(tmp_path_factory.mktemp("store"), [(24, 20, 40)] * 6)


def watch(store, spec, size):
    return Watch(Crops(store, list(store.items.index), spec, seed=0), size, AUGMENT)


@pytest.mark.parametrize(
    "spec, size, knows",
    [
        (CropSpec((16, 16, 16)), (16, 16, 16), True),
        (CropSpec((16, 16, 16), parts=4), (16, 16, 16), True),
        (CropSpec((16, 16)), (16, 16), True),  # slices
        (CropSpec((32, 16, 16), whole=True), (16, 16, 16), True),  # cells of a grid
        (CropSpec((16, 16, 16), whole=True), (16, 16, 16), False),  # all there is
    ],
)
def test_pieces_have_the_size_the_backbone_sees_and_positions_where_they_differ(
    store, spec, size, knows
):
    seen = watch(store, spec, size)
    assert seen.image.shape[1:] == (1, *size) and len(seen.image) == len(seen.patients)
    assert ("position" in seen.known) == knows
    if knows:
        assert len(set(seen.known["position"])) > 1
    again = watch(store, spec, size)
    assert torch.equal(again.image, seen.image) and again.known == seen.known


def test_position_is_where_a_piece_lies(store):
    crops = Crops(store, list(store.items.index), CropSpec((16, 16)), seed=0)
    seen = Watch(crops, (16, 16), AUGMENT)
    numbers = np.unique(np.linspace(0, len(crops) - 1, 24).round().astype(int))
    slices = [crops.items[n][1] for n in numbers for _ in range(2)]
    assert seen.known["position"] == [min(4 * (z + 0.5) // 40, 3) for z in slices]


class Method(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build("res_unet", in_channels=1, channels=[4, 8])


def test_looks_are_logged_from_before_the_first_step_and_a_planted_collapse_is_said(
    store, tmp_path, capsys
):
    seen, log, method = (
        watch(store, CropSpec((16, 16, 16)), (16, 16, 16)),
        MetricsLog(tmp_path),
        Method(),
    )
    seen.begin(method, log)
    seen.begin(method, log)  # a run that was killed before its first checkpoint begins again
    assert [row["step"] for row in log.rows()] == [0]
    assert {"spread", "rank", "rankme", "alignment", "uniformity", "knn_position"} <= set(
        log.rows()[0]
    )
    assert seen.go_on(method, 5, log) == ""
    assert log.rows()[1] == {**log.rows()[0], "step": 5}
    with torch.no_grad():
        for parameter in method.backbone.parameters():
            parameter.zero_()
    words = seen.go_on(method, 10, log)
    assert (
        "one point" in words
        and "optim.lr" in words
        and "ALARM at step 10" in capsys.readouterr().err
    )
