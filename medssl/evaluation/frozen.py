"""A frozen network is shown boxes of scans, and small classifiers answer from its features."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from medssl.evaluation.attentive_probe import attentive_predict, places
from medssl.evaluation.cases import Box, Cases
from medssl.evaluation.linear_probe import linear_predict
from medssl.evaluation.probe import knn_predict
from medssl.progress import track

PLACES = 64  # of a case, that the attentive probe attends over; more only where it has more boxes


class Look:
    """Features of boxes, batch after batch. `read(*box)` gives an image (C, *size)."""

    def __init__(self, network: nn.Module, read: Callable[..., np.ndarray], batch: int):
        self.network, self.read, self.batch = network.eval(), read, batch
        self.device = next(network.parameters()).device

    @torch.no_grad()
    def __call__(self, boxes: list[Box]) -> Iterator[tuple[int, list[Tensor]]]:
        """(number of the first box, levels (B, C_i, *grid_i)) of every batch."""
        for first in range(0, len(boxes), self.batch):
            images = np.stack([self.read(*box) for box in boxes[first : first + self.batch]])
            yield first, self.network(torch.from_numpy(images).to(self.device))


def answers(
    look: Look, train: Cases, test: Cases, probes: list[str], pool: Callable[[list[Tensor]], Tensor], *,
    k: int, seed: int, what: str,
) -> dict[str, np.ndarray]:  # fmt: skip
    """What each probe (knn, linear, attentive) says of every case of `test`, learnt on `train`.

    pool  of all levels: (B, D), what k-NN and the linear probe see, averaged over a case's boxes
    """
    if not probes:
        return {}
    boxes = max(len(several) for cases in (train, test) for several in cases.boxes)
    along = max(
        1, int((PLACES / boxes + 1e-9) ** (1 / look.network.ndim))
    )  # places of a box, each axis
    most = along if "attentive" in probes else 0
    (x, near), (u, far) = (_features(look, cases, pool, most, what) for cases in (train, test))
    found = {}
    for probe in probes:
        if probe == "knn":
            found[probe] = knn_predict(x, train.answers, u, k)
        elif probe == "linear":
            found[probe] = linear_predict(x, train.answers, train.patients, u, seed)
        else:
            found[probe] = attentive_predict(near, train.answers, far, seed, look.device)
    return found


def _features(look: Look, cases: Cases, pool, most: int, what: str):
    """Pooled features (cases, D), and for every case the features (P, C) of places.

    most  places along each axis of a box; 0: none are wanted
    """
    boxes = [box for several in cases.boxes for box in several]
    counts = np.array([len(several) for several in cases.boxes])
    pooled, near = [], []
    batches = track(look(boxes), what, total=-(-len(boxes) // look.batch), unit="batches")
    for _, levels in batches:
        pooled.append(pool(levels).float().cpu().numpy())
        if most:
            near.append(places(levels[-1], most).cpu().numpy())
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(np.concatenate(pooled), starts, axis=0) / counts[:, None]
    if not most:
        return means, []
    near = np.split(np.concatenate(near), starts[1:])
    return means, [tokens.reshape(-1, tokens.shape[-1]) for tokens in near]
