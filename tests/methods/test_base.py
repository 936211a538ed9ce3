"""Every method of the table keeps the contract, in 2D and in 3D."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.base import build
from medssl.config import Part
from medssl.methods.base import METHODS
from medssl.reports.figures import as_png, method_picture

SIZES = {2: [16, 24], 3: [16, 24, 8]}
OPTIONS = {
    "mae": (
        "vit",
        {"patch": 4, "width": 24, "depth": 1, "heads": 2},
        {"decoder_width": 24, "decoder_heads": 2},
    ),
    "voco": ("res_unet", {"channels": [4, 8]}, {"width": 16}),
}


def make(name, ndim, channels=1):
    torch.manual_seed(0)
    backbone_name, backbone_options, options = OPTIONS[name]
    backbone = build(backbone_name, in_channels=channels, ndim=ndim, **backbone_options)
    if name == "voco":
        options = options | {"grid": [2, 2, 1][:ndim], "size": [8, 12, 8][:ndim]}
    else:
        options = options | {"size": SIZES[ndim]}
    apply = augmenter(Augment(), (-5.0, 5.0))
    return Part(name=name, **options).build(METHODS, "method", backbone, apply)


def batch(method, channels=1):
    image = torch.randn(3, channels, *method.crops.size, generator=torch.Generator().manual_seed(0))
    return {"image": image, "seed": torch.tensor([5, 6, 7])}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_step_is_a_function_of_weights_batch_and_seeds(name, ndim):
    a, b = make(name, ndim), make(name, ndim)
    torch.manual_seed(1)
    first = a.training_step(batch(a), 3)
    torch.manual_seed(2)
    second = b.training_step(batch(b), 3)
    assert torch.equal(first.loss, second.loss) and first.loss.isfinite()
    other = batch(a) | {"seed": torch.tensor([8, 9, 10])}
    assert not torch.equal(a.training_step(other, 3).loss, first.loss)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_loss_falls_the_backbone_learns_and_the_state_round_trips(name, ndim):
    method = make(name, ndim)
    before = [p.clone() for p in method.backbone.parameters()]
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(30):
        out = method.training_step(batch(method), step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(float(out.loss.detach()))
    assert losses[-1] < losses[0]
    assert all(
        not torch.equal(a, b) for a, b in zip(before, method.backbone.parameters(), strict=True)
    )
    again = make(name, ndim)
    again.load_state_dict(method.state_dict())
    assert torch.equal(
        method.training_step(batch(method), 0).loss, again.training_step(batch(method), 0).loss
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_pictures_can_be_drawn_and_are_not_empty(name, ndim):
    from io import BytesIO

    from PIL import Image

    method = make(name, ndim, channels=2)
    for picture in method.eval().pictures(batch(method, channels=2), 0):
        drawn = np.asarray(Image.open(BytesIO(as_png(method_picture(picture)))).convert("L"))
        assert drawn.std() > 10
