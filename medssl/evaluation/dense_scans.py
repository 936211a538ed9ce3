"""The dense probe over whole scans: learn it on some, ask it about others, window by window."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.evaluation.cases import Box
from medssl.evaluation.dense_probe import DenseProbe, features_at, fit_dense, sample_voxels
from medssl.evaluation.frozen import Look
from medssl.evaluation.metrics import dice
from medssl.evaluation.windows import Window
from medssl.seeding import generator


@dataclass(frozen=True)
class Scan:
    """One scan, the windows that are looked at, and how to get its mask as class numbers (*shape)."""

    id: str
    shape: tuple[int, ...]
    windows: list[Window]
    mask: Callable[[], np.ndarray]

    @property
    def boxes(self) -> list[Box]:
        return [(self.id, w.low, w.high) for w in self.windows]

    @property
    def asked(self) -> np.ndarray:
        """bool (*shape): the voxels that the windows answer for."""
        found = np.zeros(self.shape, bool)
        for w in self.windows:
            found[w.own] = True
        return found


def some(windows: list[Window], most: int, seed: int, number: int) -> list[Window]:
    """At most `most` of the windows of scan `number`, drawn alike from the whole scan, in order."""
    chosen = generator(seed, "dense windows", number).permutation(len(windows))[:most]
    return [windows[i] for i in sorted(chosen)]


def learn(look: Look, scans: Iterable[Scan], n_classes: int, voxels: int, seed: int) -> DenseProbe:
    """The probe from about `voxels` voxels of each scan, for classes 0 to n_classes - 1."""
    axes = look.network.ndim
    features, classes, weights = [], [], []
    for number, scan in enumerate(scans):
        draw = generator(seed, "dense voxels", number)
        places, found, stand_for = sample_voxels(scan.mask(), scan.asked, voxels, draw)
        for i, levels in each(look, scan.boxes):
            window = scan.windows[i]
            inside = ((places >= window.first) & (places < window.last)).all(1)
            if inside.any():
                at = torch.from_numpy(places[inside] - np.array(window.low))[:, :axes]
                at = at.to(levels[0].device)
                features.append(features_at(levels, at, _extent(window)[:axes]))
                classes.append(found[inside])
                weights.append(stand_for[inside])
    x = torch.cat(features) if features else torch.zeros(0, 1)
    y, w = (
        torch.from_numpy(np.concatenate(a)).to(x.device) for a in (classes or [[]], weights or [[]])
    )
    return fit_dense(x, y, w, n_classes)


def dice_present(predicted: np.ndarray, scan: Scan, classes: dict[int, str]) -> dict[str, float]:
    """Dice by class name over the voxels that were asked about, NaN for a class not among them."""
    asked, truth = scan.asked, scan.mask()
    found = dice(predicted[asked], truth[asked], classes)
    there = set(np.unique(truth[asked]).tolist())
    return {name: found[name] if k in there else float("nan") for k, name in classes.items()}


def answer(look: Look, scan: Scan, probe: DenseProbe) -> np.ndarray:
    """Class numbers uint16 (*shape) where the scan's windows answer, 0 elsewhere."""
    axes = look.network.ndim
    found = np.zeros(scan.shape, np.uint16)
    for i, levels in each(look, scan.boxes):
        window = scan.windows[i]
        extent = _extent(window)
        labels = probe(levels, extent[:axes])[0].argmax(0)
        found[window.own] = labels.cpu().numpy().reshape(extent)[window.inner]
    return found


def each(look: Look, boxes: list) -> Iterator[tuple[int, list[Tensor]]]:
    """(number of the box, its levels (1, C, *grid)): one at a time, so that answers stay small."""
    for first, levels in look(boxes):
        for i in range(len(levels[0])):
            yield first + i, [x[i : i + 1] for x in levels]


def _extent(window: Window) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip(window.low, window.high, strict=True))
