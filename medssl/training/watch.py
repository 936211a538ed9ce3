"""The same few boxes, looked at again and again: is what the backbone makes of them alive?"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from medssl.backbones.base import pool
from medssl.data.crops import SLICE_AXIS, Crops
from medssl.evaluation.collapse import agreement, alarm, health, knn_known, quarters
from medssl.progress import say
from medssl.seeding import generator, key
from medssl.training.log import MetricsLog

ITEMS, SAMPLES = 24, 2  # scans or slices watched, and boxes of each
BATCH = 8
VARIES = 0.05  # standard deviation of places, a share of an axis, from which they are told apart


class Watch:
    """Pieces (n, C, *size) of items spread evenly over all, with what is known of them."""

    def __init__(self, crops: Crops, size: tuple[int, ...], augment: Callable[..., Tensor]):
        numbers = np.unique(np.linspace(0, len(crops) - 1, ITEMS).round().astype(int))
        found = [
            piece
            for number in numbers
            for sample in range(SAMPLES)
            for piece in _pieces(crops, int(number), int(number) + sample * len(crops), size)
        ]
        self.image = torch.from_numpy(np.stack([image for image, _, _ in found]))
        items = crops.store.items
        self.patients = [items.at[item, "patient"] for _, _, item in found]
        modalities = [items.at[item, "modality"] for _, _, item in found]
        self.known = {
            "modality": modalities,
            **_position(np.array([place for _, place, _ in found])),
        }
        self.augment = augment

    @torch.no_grad()
    def look(self, backbone: nn.Module) -> dict[str, float]:
        """`health` of the pieces' features, k-NN on what is known, alignment and uniformity of views."""
        like = next(backbone.parameters())  # its device, and its precision
        features, views = [], ([], [])
        for first in range(0, len(self.image), BATCH):
            image = self.image[first : first + BATCH].to(like)
            features.append(pool(backbone(image)).float().cpu())
            for view, kept in enumerate(views):
                seeds = [key(0, "watch", view, first + i) for i in range(len(image))]
                seen = self.augment(image, torch.tensor(seeds))
                kept.append(pool(backbone(seen)).float().cpu())
        features, (a, b) = torch.cat(features), (torch.cat(view) for view in views)
        known = knn_known(features, self.known, self.patients)
        return {**health(features), **agreement(a, b), **known}

    def begin(self, method: nn.Module, log: MetricsLog) -> None:
        """Look at the network before its first step: all later figures are compared with these."""
        if not any("spread" in row and row["step"] == 0 for row in log.rows()):
            log.write(0, **self.look(method.eval().backbone))

    def go_on(self, method: nn.Module, step: int, log: MetricsLog) -> str:
        """Look again, log it, and say aloud what has collapsed; "" if nothing has."""
        log.write(step, **self.look(method.backbone))
        measured = [
            {k: float("nan") if v is None else v for k, v in row.items()}
            for row in log.rows()
            if "spread" in row
        ]
        words = alarm(measured)
        if words:
            say(f"ALARM at step {step}: {words}")
        return words


def _pieces(crops: Crops, number: int, sample: int, size: tuple[int, ...]):
    """(piece (C, *size), its centre as a share of each axis of the scan, id) of what is read."""
    read, item = crops.read(number, sample), crops.items[number][0]
    ndim, shape = len(size), np.array(crops.store.shape(item))
    image = read["image"].reshape(-1, *read["image"].shape[-ndim - 1 :])  # boxes of a sample
    low, high = (read[name].reshape(len(image), -1) for name in ("low", "high"))
    draw = generator(0, "watch", sample)
    for each, first, last in zip(image, low, high, strict=True):
        n = np.array(each.shape[1:])
        start = draw.integers(0, n - np.array(size) + 1)
        middle = np.full(len(shape), 0.5)
        middle[:ndim] = (start + np.array(size) / 2) / n
        place = (first + middle * (last - first)) / shape
        where = tuple(slice(s, s + k) for s, k in zip(start, size, strict=True))
        yield each[(slice(None), *where)], place.clip(0, 1), item


def _position(places: np.ndarray) -> dict[str, list[int]]:
    """In which quarter of the slice axis pieces lie, or of the axis along which they differ most."""
    spread = places.std(0)
    told = len(spread) > SLICE_AXIS and spread[SLICE_AXIS] > VARIES
    axis = SLICE_AXIS if told else int(spread.argmax())
    return {"position": quarters(places[:, axis])} if spread[axis] > VARIES else {}
