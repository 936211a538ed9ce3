"""A training step of the masked autoencoder against MONAI's network of the same sizes.

On two quiet cores (2026) MONAI took 1.12 to 1.16 times as long in 2D and 1.21 to 1.31 times in 3D; 1.2 is the
aim for both. In 2D three quarters of either are the same matrix products, at what a core can do: what
differs is attention, the head for visible patches and the last block's work on them.
"""

import statistics
import time

import pytest
import torch
from monai.networks.nets import MaskedAutoEncoderViT

from medssl.backbones.vit import ViT
from medssl.methods.mae import MAE
from medssl.methods.parts.masking import patchify

ROUNDS = 15


def keep(image, seeds, **_):
    return image


def ours(size: list[int]):
    backbone = ViT(1, ndim=len(size), patch=16, width=384, depth=12, heads=6)
    method = MAE(backbone, keep, size=size, decoder_width=192, decoder_depth=4, decoder_heads=6)
    return method, lambda batch: method.training_step(batch, 0).loss


def monai(size: list[int]):
    """MONAI's network, with biases where ours has some; its users write the loss themselves."""
    net = MaskedAutoEncoderViT(
        1, size, 16, hidden_size=384, mlp_dim=1536, num_layers=12, num_heads=6, masking_ratio=0.75,
        decoder_hidden_size=192, decoder_mlp_dim=768, decoder_num_layers=4, decoder_num_heads=6,
        spatial_dims=len(size), qkv_bias=True,
    )  # fmt: skip

    def loss(batch):
        predicted, mask = net(batch["image"])
        target = patchify(batch["image"], (16,) * len(size))
        std = (target.var(-1, keepdim=True) + 1e-6).sqrt()
        target = (target - target.mean(-1, keepdim=True)) / std
        error = (predicted - target).square().mean(-1)
        return (error * mask).sum() / mask.sum()

    return net, loss


@pytest.mark.parametrize(
    ("size", "n"), [([224, 224], 8), ([96, 96, 96], 4)], ids=["224 x 224", "96 x 96 x 96"]
)
def test_step(size, n):
    torch.set_num_threads(2)
    batch = {"image": torch.randn(n, 1, *size), "seed": torch.arange(n)}
    times = {}
    both = {"medssl": ours(size), "monai": monai(size)}
    for turn in range(ROUNDS + 1):
        for name, (module, loss) in both.items():
            began = time.perf_counter()
            loss(batch).backward()
            if turn:  # the first warms up
                times.setdefault(name, []).append(time.perf_counter() - began)
            module.zero_grad()
    medians = {name: statistics.median(t) for name, t in times.items()}
    ratio = medians["monai"] / medians["medssl"]
    print(
        f"\n{n} images of {size}: a step takes {medians['medssl']:.3f} s, with MONAI "
        f"{medians['monai']:.3f} s: {ratio:.2f} times as long"
    )
    assert ratio > 1.0
