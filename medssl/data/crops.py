"""What a loader worker reads: boxes of prepared items, each a function of (seed, sample index)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medssl.data.preprocess import resize
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.seeding import generator, key

SLICE_AXIS = 2


@dataclass(frozen=True)
class CropSpec:
    """Boxes that a method or task wants of every item.

    size        spatial size in voxels; two values over volumes mean axial slices
    whole       True: the whole item resized to `size`; False: a box at the prepared resolution,
                anywhere inside the item, padded where the item is smaller
    foreground  share of boxes placed around a labelled voxel (needs masks)
    mask        also read the label mask
    """

    size: tuple[int, ...]
    whole: bool = False
    foreground: float = 0.0
    mask: bool = False


class Crops:
    """A map-style dataset over sample numbers 0, 1, 2, ... without end.

    Sample g belongs to epoch g // n and to the epoch's permutation of items, so what is drawn does
    not depend on workers or on where a run was resumed. A sample is a dict of `image` float32
    (C, *size), `low` and `high` (the box in the item), `item` (its number), `seed` (for the
    augmentation on the device), and `mask` int64 (*size), `target` when asked for.
    """

    def __init__(self, store: Store, items: list[str], spec: CropSpec, seed: int, targets=None):
        if not items:
            raise UserError(
                "EMPTY", store.folder, "no scan was selected",
                "check the splits asked for, the labels, and the refused rows of the manifest",
            )  # fmt: skip
        self.store, self.spec, self.seed, self.targets = store, spec, seed, targets
        self.slices = store.ndim == 3 and len(spec.size) == 2
        if len(spec.size) != store.ndim and not self.slices:
            raise UserError(
                "CONFIG", "crops", f"have {len(spec.size)} axes, the store's scans {store.ndim}",
                f"give method.crop or task.size {store.ndim} values, and take a backbone of "
                f"{store.ndim} axes (backbone.ndim={store.ndim})",
            )  # fmt: skip
        self.items = [(i, None) for i in items]
        if self.slices:
            self.items = [(i, z) for i in items for z in range(store.shape(i)[SLICE_AXIS])]

    def smaller(self) -> str:
        """How many scans a crop does not fit into, in words; "" if it fits into all."""
        axes = [axis for axis in range(self.store.ndim) if not (self.slices and axis == SLICE_AXIS)]
        ids = [] if self.spec.whole else list(dict.fromkeys(id for id, _ in self.items))
        found = sum(
            any(
                self.store.shape(id)[axis] < n for axis, n in zip(axes, self.spec.size, strict=True)
            )
            for id in ids
        )
        size = "x".join(str(n) for n in self.spec.size)
        words = f"{found} of {len(ids)} scans are smaller than a crop of {size}, which is padded"
        return words if found else ""

    def __len__(self) -> int:
        return len(self.items)

    def number(self, sample: int) -> int:
        """Which item sample `sample` is taken from."""
        epoch, place = divmod(sample, len(self.items))
        return int(_order(self.seed, epoch, len(self.items))[place])

    def __getitem__(self, sample: int) -> dict:
        number = self.number(sample)
        return self.read(number, sample)

    def read(self, number: int, sample: int) -> dict:
        """Item `number` as sample `sample` would draw it."""
        item, z = self.items[number]
        draw = generator(self.seed, "crop", sample)
        low, high = self._box(item, z, draw)
        image = self._fit(self.store.read(item, low, high), smooth=True)
        out = {
            "image": image,
            "low": np.array(low, np.float32),
            "high": np.array(high, np.float32),
            "item": number,
            "seed": key(self.seed, "augment", sample),
        }
        if self.spec.mask:
            mask = self._fit(self.store.read_mask(item, low, high), smooth=False)
            out["mask"] = mask[0].astype(np.int64)
        if self.targets is not None:
            out["target"] = self.targets[item]
        return out

    def _fit(self, array: np.ndarray, smooth: bool) -> np.ndarray:
        if self.slices:
            array = array[..., 0]
        return resize(array, self.spec.size, smooth) if self.spec.whole else array

    def _box(self, item: str, z: int | None, draw: np.random.Generator):
        shape, size = self.store.shape(item), self.spec.size
        if self.slices:
            size = (*size, 1)
        if self.spec.whole:
            low, high = [0] * len(shape), list(shape)
        else:
            centre = self._labelled_voxel(item, draw)
            low = [
                _place(n, s, None if centre is None else centre[axis], draw)
                for axis, (n, s) in enumerate(zip(shape, size, strict=True))
            ]
            high = [lo + s for lo, s in zip(low, size, strict=True)]
        if self.slices:
            low[SLICE_AXIS], high[SLICE_AXIS] = z, z + 1
        return low, high

    def _labelled_voxel(self, item: str, draw: np.random.Generator):
        if draw.random() >= self.spec.foreground:
            return None
        points = self.store.foreground(item)
        if not len(points):
            return None
        label = draw.choice(np.unique(points[:, 0]))  # classes alike, however small
        return draw.choice(points[points[:, 0] == label])[1:]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(n)


def _place(n: int, size: int, centre: int | None, draw: np.random.Generator) -> int:
    """Start of a box of `size` along an axis of `n` voxels; the last legal start can be drawn."""
    if size >= n:
        return -((size - n) // 2)
    if centre is None:
        return int(draw.integers(0, n - size + 1))
    shift = int(draw.integers(-(size // 4), size // 4 + 1))
    return int(np.clip(centre - size // 2 + shift, 0, n - size))


def batches(
    crops: Crops, batch_size: int, first: int, last: int, workers: int = 0
) -> Iterator[dict]:
    """Batches number `first` to `last` - 1 as dicts of tensors, read by `workers` processes."""
    from torch.utils.data import DataLoader

    samples = range(first * batch_size, last * batch_size)
    cores = len(os.sched_getaffinity(0))  # more workers than these only make torch warn
    yield from DataLoader(
        crops, batch_size=batch_size, sampler=samples, num_workers=min(workers, cores),
        pin_memory=False, persistent_workers=False,
    )  # fmt: skip
