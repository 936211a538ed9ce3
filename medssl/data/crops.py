"""What a loader worker reads: boxes of prepared items, each a function of (seed, sample index)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medssl import stopwatch
from medssl.data.loading import load
from medssl.data.preprocess import resize
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.seeding import generator, key

SLICE_AXIS = 2
UNKNOWN = -1  # a label that nobody has given


@dataclass(frozen=True)
class CropSpec:
    """Boxes that a method or task wants of every item.

    size        spatial size in voxels; two values over volumes mean axial slices
    whole       True: the whole item resized to `size`; False: a box at the prepared resolution,
                anywhere inside the item, padded where the item is smaller
    foreground  share of boxes placed around a labelled voxel (needs masks, or `points` of Crops)
    labels      which labels these are; none: all
    mask        also read the label mask; UNKNOWN everywhere where an item has none
    parts       0: one box a sample; S: S boxes of one scan, one from each of S equal partitions
                along the slice axis, in rising order. Boxes of fewer axes than the scans are slices.
    """

    size: tuple[int, ...]
    whole: bool = False
    foreground: float = 0.0
    mask: bool = False
    parts: int = 0
    labels: tuple[int, ...] = ()


class Crops:
    """A map-style dataset over sample numbers 0, 1, 2, ... without end.

    Sample g belongs to epoch g // n and to the epoch's permutation of items, so what is drawn does
    not depend on workers or on where a run was resumed. A sample is a dict of `image` float32
    (C, *size), `low` and `high` (the box in the item), `item` (its number), `seed` (for the
    augmentation on the device), and `mask` int64 (*size), `target` when asked for. With `parts` a
    sample has one more axis in front, of S boxes, and `part` int64 (S,) and `place` float32 (S,), the
    boxes' centres along the slice axis as a share of its length. `slices` are those that a selection
    keeps of each item; none: all. `points` are int (n, 1 + d) of each item, a class and a voxel, around
    which `foreground` places boxes; none: voxels of its mask.
    """

    def __init__(
        self, store: Store, items: list[str], spec: CropSpec, seed: int, targets=None,
        slices: dict[str, np.ndarray] | None = None, points: dict[str, np.ndarray] | None = None,
    ):  # fmt: skip
        if not items:
            raise UserError(
                "EMPTY", store.folder, "no scan was selected",
                "check the splits asked for, the labels, and the refused rows of the manifest",
            )  # fmt: skip
        self.store, self.spec, self.seed, self.targets = store, spec, seed, targets
        self.points = points
        self.slices = store.ndim == 3 and len(spec.size) == 2
        if len(spec.size) != store.ndim and not self.slices:
            raise UserError(
                "CONFIG", "crops", f"have {len(spec.size)} axes, the store's scans {store.ndim}",
                f"give method.size or task.size {store.ndim} values, and take a backbone of "
                f"{store.ndim} axes (pretrain: backbone.ndim={store.ndim}, finetune: "
                f"arch.ndim={store.ndim}); films have no task.slices",
            )  # fmt: skip
        self.items = [(i, None) for i in items]
        if self.slices and not spec.parts:
            kept = slices or {i: range(store.shape(i)[SLICE_AXIS]) for i in items}
            self.items = [(i, int(z)) for i in items for z in kept.get(i, ())]
        elif slices is not None:
            raise UserError(
                "CONFIG", "selection", "is of slices, and this method reads "
                + ("boxes from partitions of scans" if spec.parts else "volumes"),
                "take a method of slices (two values in method.size), or `medssl reduce unit=scans`",
            )  # fmt: skip
        if spec.parts and (store.ndim <= SLICE_AXIS or spec.whole):
            raise UserError(
                "CONFIG", "method.parts", "boxes are taken from partitions along the slice axis, and "
                + ("a film has none" if store.ndim <= SLICE_AXIS else "whole scans are not boxes"),
                "use volumes and whole=false, or a method without partitions and order=0",
            )  # fmt: skip
        if spec.parts:
            self._refuse_thin(items)

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

    def scan(self, sample: int) -> str:
        """The id of the scan that sample `sample` is taken from."""
        return self.items[self.number(sample)][0]

    def __getitem__(self, sample: int) -> dict:
        number = self.number(sample)
        return self.read(number, sample)

    def read(self, number: int, sample: int) -> dict:
        """Item `number` as sample `sample` would draw it."""
        item, z = self.items[number]
        draw = generator(self.seed, "crop", sample)
        if self.spec.parts:
            boxes = [self._box_of_part(item, part, draw) for part in range(self.spec.parts)]
            read = [self._read(item, low, high) for low, high in boxes]
            out = {name: np.stack([each[name] for each in read]) for name in read[0]}
            centre = (out["low"] + out["high"])[:, SLICE_AXIS] / 2
            out["part"] = np.arange(self.spec.parts)
            out["place"] = (centre / self.store.shape(item)[SLICE_AXIS]).astype(np.float32)
        else:
            out = self._read(item, *self._box(item, z, draw))
        out |= {"item": number, "seed": key(self.seed, "augment", sample)}
        if self.targets is not None:
            out["target"] = self.targets[item]
        return out

    def _read(self, item: str, low: list[int], high: list[int]) -> dict:
        out = {
            "image": self._fit(self.store.read(item, low, high), smooth=True),
            "low": np.array(low, np.float32),
            "high": np.array(high, np.float32),
        }
        if self.spec.mask and self.store.items.at[item, "has_mask"]:
            mask = self._fit(self.store.read_mask(item, low, high), smooth=False)
            out["mask"] = mask[0].astype(np.int64)
        elif self.spec.mask:
            out["mask"] = np.full(self.spec.size, UNKNOWN, np.int64)
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
            if self.slices and centre is not None:  # in place of the slice whose turn it is
                z = int(centre[SLICE_AXIS])
        if self.slices:
            low[SLICE_AXIS], high[SLICE_AXIS] = z, z + 1
        return low, high

    def _box_of_part(self, item: str, part: int, draw: np.random.Generator):
        """A box whose centre lies in partition `part` of the slice axis (or in the nearest place that
        leaves it inside the scan)."""
        shape, size = self.store.shape(item), self.spec.size
        n, edges = shape[SLICE_AXIS], partition(shape[SLICE_AXIS], self.spec.parts)
        centre = int(draw.integers(edges[part], edges[part + 1]))
        if self.slices:
            low, high = self._box(item, centre, draw)
        else:
            low, high = self._box(item, None, draw)
            deep = size[SLICE_AXIS]
            first = -((deep - n) // 2) if deep >= n else min(max(centre - deep // 2, 0), n - deep)
            low[SLICE_AXIS], high[SLICE_AXIS] = first, first + deep
        return low, high

    def _refuse_thin(self, items: list[str]) -> None:
        thin = [i for i in items if self.store.shape(i)[SLICE_AXIS] < self.spec.parts]
        if thin:
            raise UserError(
                "CONFIG", "method.parts",
                f"{len(thin)} of {len(items)} scans have fewer slices than {self.spec.parts} partitions, "
                f"as {thin[0]} ({self.store.shape(thin[0])[SLICE_AXIS]})",
                "ask for fewer partitions, or select other scans",
            )  # fmt: skip

    def _labelled_voxel(self, item: str, draw: np.random.Generator):
        if draw.random() >= self.spec.foreground:
            return None
        points = self.store.foreground(item) if self.points is None else self.points[item]
        if self.spec.labels:
            points = points[np.isin(points[:, 0], self.spec.labels)]
        if not len(points):
            return None
        label = draw.choice(np.unique(points[:, 0]))  # classes alike, however small
        return draw.choice(points[points[:, 0] == label])[1:]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(n)


def partition(n: int, parts: int) -> list[int]:
    """First slice of each of `parts` partitions of n slices, and n: slice s is in min(s * S // n, S - 1).

    Every slice belongs to one, and with n >= S none is empty.
    """
    return [-(-part * n // parts) for part in range(parts)] + [n]


def _place(n: int, size: int, centre: int | None, draw: np.random.Generator) -> int:
    """Start of a box of `size` along an axis of `n` voxels; the last legal start can be drawn."""
    if size >= n:
        return -((size - n) // 2)
    if centre is None:
        return int(draw.integers(0, n - size + 1))
    shift = int(draw.integers(-(size // 4), size // 4 + 1))
    return int(np.clip(centre - size // 2 + shift, 0, n - size))


class _Timed:
    """Crops that say how long they took, in whichever process."""

    def __init__(self, crops: Crops):
        self.crops = crops

    def __getitem__(self, sample: int) -> dict:
        with stopwatch.running() as watch:
            read = self.crops[sample]
            watch.lap("read")
        return {**read, "spent": np.array([watch.seconds[part] for part in ("read", "decode")])}


@dataclass(frozen=True)
class Numbers:
    """Which samples each of some batches is of: those at the places `own`, made when they are asked for."""

    batches: range
    batch_size: int
    own: range

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, k: int) -> range:
        first = self.batches[k] * self.batch_size
        return range(first + self.own.start, first + self.own.stop)


def batches(
    crops: Crops, batch_size: int, first: int, last: int, workers: int = 0, wait: float = 0,
    timed: bool = False, pinned: bool = False,
) -> Iterator[dict]:  # fmt: skip
    """Batches number `first` to `last` - 1 as dicts of tensors, read by `workers` processes; of each,
    what is this rank's share.

    `timed` adds `spent` float64 (B, 2): seconds for which each sample was read, and decoded. `pinned`
    batches lie in memory from which a GPU copies while it computes. Raises UserError WORKER if a
    process dies, or gives no batch for `wait` seconds (0: for ever).
    """
    from medssl import ranks

    asked = Numbers(range(first, last), batch_size, ranks.share(batch_size))
    cores = len(os.sched_getaffinity(0))  # more workers than these only take memory
    read = (_Timed(crops) if timed else crops).__getitem__
    for batch in load(read, asked, min(workers, cores), wait, crops.scan):
        yield {k: v.pin_memory() for k, v in batch.items()} if pinned else batch
