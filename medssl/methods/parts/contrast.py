"""Telling a positive from negatives by cosine, and the picture of it."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from medssl.errors import UserError
from medssl.ranks import world

SHOWN = 6


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """NT-Xent of two views (M, D) of M images, and the share of views nearest to their positive.

    For each of the 2M views -log(e^(s_positive / t) / sum of e^(s / t) over the 2M - 1 others), s the
    cosine; the mean of both directions. log(2M - 1) where all cosines are equal; chance of being
    nearest 1 / (2M - 1). Of any length of vectors; computed in float32.
    Chen et al., "A Simple Framework for Contrastive Learning", ICML 2020, equation 1.
    """
    m = len(a)
    with torch.autocast(a.device.type, enabled=False):
        z = normalize(torch.cat([a, b]).float(), dim=-1)
        itself = torch.eye(2 * m, dtype=torch.bool, device=z.device)
        logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    positive = torch.arange(2 * m, device=z.device).roll(m)
    return cross_entropy(logits, positive), share_nearest(logits, positive)


def share_nearest(logits: Tensor, positive: Tensor) -> Tensor:
    """Share of rows (n, k) whose positive (n,) is above all else; a tie is no match."""
    of_positive = logits.detach().gather(1, positive[:, None])
    return ((logits.detach() >= of_positive).sum(1) == 1).float().mean()


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines (n, m) of vectors (n, D) and (m, D), in float32."""
    with torch.autocast(a.device.type, enabled=False):
        return normalize(a.float(), dim=-1) @ normalize(b.float(), dim=-1).T


def checked_temperature(temperature: float) -> float:
    """Raises UserError unless the temperature is above 0."""
    if not temperature > 0:
        raise UserError(
            "CONFIG", "method.temperature", f"found {temperature}, expected a number above 0",
            "e.g. 0.1 or 0.2",
        )  # fmt: skip
    return temperature


def check_several(image: Tensor, why: str) -> None:
    """Raises UserError for a batch of a single box (M, C, *size) over all ranks."""
    if len(image) * world() < 2:
        raise UserError(
            "CONFIG", "fit.batch_size", f"a batch of one image {why}", "use 2 or more, better 8"
        )


def similarity_picture(first: Tensor, second: Tensor, similarity: Tensor, title: str) -> list[dict]:
    """The first views, the second ones, and their similarity (n, n), asked to be the identity.

    Views (n, C, *size), of which the first channel and the first `SHOWN` are shown.
    """
    n = min(SHOWN, len(first))
    return [
        {
            "kind": "similarity",
            "rows": list(first[:n, 0].float().cpu().numpy()),
            "columns": list(second[:n, 0].float().cpu().numpy()),
            "values": similarity[:n, :n].float().cpu().numpy(),
            "asked": torch.eye(n).numpy(),
            "title": title,
        }
    ]
