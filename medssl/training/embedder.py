"""Features of scans by a frozen backbone, as an estimator of scikit-learn."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin

from medssl.backbones.base import build, pool
from medssl.data.preprocess import resize
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.evaluation.dense_scans import some
from medssl.evaluation.frozen import Look
from medssl.evaluation.windows import Window, windows
from medssl.progress import say, track
from medssl.training.checkpoint import load_weights, read_card
from medssl.training.hardware import Hardware


class Embedder(TransformerMixin, BaseEstimator):
    """Ids of a store's scans to their features (scans, D): `transform(["case_1", "case_2"])`.

    Nothing is learnt from what it is given, so it may stand first in a `Pipeline` that is fitted
    fold by fold, patients kept together by `GroupKFold`. Every scan is looked at in boxes that cover
    it, and features are averages over their places, of all levels side by side.

    model    run or model folder
    store    folder that `medssl prepare` wrote
    size     voxels of a box; none: what the model trained on
    whole    True: whole scans (or slices) resized to size; none: as trained
    boxes    of a scan at most, drawn alike from all of it
    device   auto, cpu or cuda
    """

    def __init__(
        self, model, store, *, size=None, whole=None, boxes=64, batch_size=8, seed=0, device="auto"
    ):
        self.model, self.store, self.size, self.whole = model, store, size, whole
        self.boxes, self.batch_size, self.seed, self.device = boxes, batch_size, seed, device

    def fit(self, X=None, y=None) -> "Embedder":
        """Load the network. Raises UserError where the store is not of scans that it takes."""
        card, self.store_ = read_card(Path(self.model)), Store.read_from(Path(self.store))
        self.size_ = box_size(card, self.store_, self.size)
        self.whole_ = card.get("whole", False) if self.whole is None else self.whole
        options = card["backbone"]["options"]
        if options["in_channels"] != self.store_.channels:
            raise UserError(
                "MISMATCH", self.store,
                f"has {self.store_.channels} channels, the model takes {options['in_channels']}",
                "choose a store of such scans",
            )  # fmt: skip
        recipe = self.store_.recipe.model_dump()
        if other := [key for key, value in recipe.items() if card["recipe"].get(key) != value]:
            say(f"remark: the scans were prepared by another recipe ({', '.join(other)} differ)")
        self.network_ = build(card["backbone"]["name"], **options)
        load_weights(Path(self.model), self.network_, "backbone")
        self.network_.to(Hardware(device=self.device).take()).eval()
        self.levels_ = list(self.network_.channels)
        return self

    def transform(self, X) -> np.ndarray:
        """Pooled features float32 (scans, D) of ids (scans,) or (scans, 1)."""
        return self.look(X)[0]

    def look(self, X, places: int = 0) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Pooled features, and of every scan the last level at up to `places` places: where these lie,
        in prepared voxels (n, axes), and their features (n, C).

        Raises UserError for an id that the store does not hold.
        """
        ids = self._ids(X)
        order = {item: number for number, item in enumerate(self.store_.items.index)}
        look = Look(self.network_, boxes_of(self.store_, self.size_), self.batch_size)
        pooled, dense = [], []
        for item in track(ids, "embed", unit="scans"):
            covers = cover(
                self.store_, self.size_, self.whole_, self.boxes, self.seed, item, order[item]
            )
            found, near = [], []
            for first, levels in look([(item, w.low, w.high) for w in covers]):
                found.append(pool(levels).float().cpu())
                if places:
                    near += [
                        _dense(level, covers[first + i]) for i, level in enumerate(levels[-1].cpu())
                    ]
            pooled.append(torch.cat(found).mean(0).numpy())
            if places:
                at, features = (np.concatenate(each) for each in zip(*near, strict=True))
                kept = np.linspace(0, len(at) - 1, min(places, len(at))).round().astype(int)
                dense.append((at[kept], features[kept]))
        return np.stack(pooled).astype(np.float32), dense

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        return np.array([f"level{i}_{c}" for i, n in enumerate(self.levels_) for c in range(n)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = False, True
        tags.input_tags.string, tags.requires_fit = True, True
        return tags

    def _ids(self, X) -> list[str]:
        if not hasattr(self, "network_"):
            self.fit()
        ids = [str(item) for item in np.asarray(X, dtype=object).reshape(-1)]
        if not ids or (unknown := [i for i in ids if i not in self.store_.items.index]):
            which = f"does not hold {', '.join(unknown[:3])}" if ids else "was asked for no scan"
            raise UserError(
                "EMPTY", self.store, which, "give ids that stand in the store's items.parquet"
            )
        return ids


def box_size(card: dict, store: Store, size: Sequence[int] | None) -> tuple[int, ...]:
    """Voxels of a box that a model looks at. Raises UserError where it does not fit the scans."""
    size = tuple(size or card.get("image_size") or (card.get("task") or {}).get("size") or ())
    if (len(size), store.ndim) not in ((2, 2), (2, 3), (3, 3)):
        raise UserError(
            "CONFIG", "size", f"has {len(size)} values, the scans have {store.ndim} axes",
            "give size=",
        )  # fmt: skip
    return size


def cover(
    store: Store, size: Sequence[int], whole: bool, most: int, seed: int, item: str, number: int
) -> list[Window]:  # fmt: skip
    """Boxes that cover scan number `number`, at most `most` of them; of volumes for a 2D network, slices."""
    shape = store.shape(item)
    extent = list(shape if whole else size)
    if len(size) < len(shape):  # axial slices
        extent = [*extent[: len(size)], 1]
    return some(windows(shape, extent), most, seed, number)


def boxes_of(store: Store, size: Sequence[int]) -> Callable[..., np.ndarray]:
    """What a network is shown of a box: a slice loses its last axis, a whole scan is resized."""

    def read(item: str, low, high) -> np.ndarray:
        image = store.read(item, low, high)
        flat = image[..., 0] if image.ndim > len(size) + 1 else image
        return resize(flat, size, smooth=True)

    return read


def _dense(level: torch.Tensor, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the places of a level (C, *grid) in the scan's voxels, and their features."""
    grid = level.shape[1:]
    index = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid))
    low, high = np.array(window.low, float), np.array(window.high, float)
    flat = len(low) > len(grid)
    inner = low[: len(grid)] + (index + 0.5) / np.array(grid) * (high - low)[: len(grid)]
    at = np.concatenate([inner, np.full((len(inner), 1), low[-1] + 0.5)], 1) if flat else inner
    return at, level.flatten(1).T.float().numpy()
