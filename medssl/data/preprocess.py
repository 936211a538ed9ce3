"""From a scan to what a network sees, by a recipe that travels with the weights, and back.

`prepare` reorients to canonical axes, crops to the body, resamples and normalises; `restore` takes
a prediction on the prepared grid back onto the scan's own grid. Axes are only ever permuted and
flipped, never rotated, so any axis order of one scan prepares to the same array.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from medssl.data.recipe import CLIP_Z, Recipe
from medssl.data.volume import Volume, crop, reorient, resized_affine
from medssl.errors import UserError

LABELS_MAX = 32
SAMPLE = 200_000
SLAB_BYTES = 1 << 27
BYTES_A_VOXEL = 12  # float32, three times: resampled, smoothed and in the tensor


@dataclass(frozen=True)
class Grid:
    """Where a prepared array lies in its scan: box [low, high) of the canonical scan, resized.

    The box may reach outside the scan, where it was padded.
    """

    canonical: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Prepared:
    """`scan_shape`, `scan_affine`: of the scan as it was; `like_labels`: it holds a few whole numbers
    only, as a mask does."""

    image: Volume
    mask: Volume | None
    grid: Grid
    scan_shape: tuple[int, ...]
    scan_affine: np.ndarray
    like_labels: bool = False


def prepare(
    scan: Volume, recipe: Recipe, mask: Volume | None = None, name: str = "scan"
) -> Prepared:
    """Apply a recipe; the image comes out as float32 within `recipe.value_range`.

    `mask` holds integer labels on the scan's grid and is resampled by nearest neighbour.
    Raises UserError for a wrong modality, other axes than the recipe's, a scan without contrast, or a
    grid beyond the memory.
    """
    if recipe.modality and scan.modality and scan.modality != recipe.modality:
        raise UserError(
            "MODALITY", name, f"found {scan.modality}, the recipe expects {recipe.modality}",
            "prepare it with another recipe, or index the folder with the right modality=",
        )  # fmt: skip
    if recipe.modality and not scan.modality:
        remark = f"nothing says its modality, it is taken as {recipe.modality}"
        scan = replace(scan, remarks=(*scan.remarks, remark))
    recipe.check_axes(scan.ndim)
    codes, as_it_was = recipe.orientation, (scan.shape, scan.affine)
    like_labels = _few_whole_numbers(scan.array)
    scan = reorient(scan, codes)
    image = scan.array.astype(np.float32)
    body = _foreground(image[0], recipe)
    low, high = _box(body, scan, recipe)
    _refuse_flood(scan, [b - a for a, b in zip(low, high, strict=True)], name)
    shape = _target_shape(scan, low, high, recipe)
    _refuse_flood(scan, shape, name)
    _normalise(image, body, recipe, name)
    scan = scan.with_array(image)  # what was read, and its foreground, need no room any more
    del body
    grid = Grid(scan.shape, low, high, shape)
    out = _to_grid(scan, grid, smooth=True, fill=float(image.min()))
    if mask is not None:
        mask = _to_grid(reorient(mask, codes), grid, smooth=False, fill=0)
        if not mask.array.any():
            out = replace(out, remarks=(*out.remarks, "its mask is empty: all background"))
    return Prepared(out, mask, grid, *as_it_was, like_labels)


def restore(
    scores: np.ndarray, grid: Grid, orientation: str, scan: Volume,
    winners: Callable[[np.ndarray], np.ndarray],
    finish: Callable[[np.ndarray], np.ndarray] = lambda labels: labels,
) -> Volume:  # fmt: skip
    """Class scores (K, *grid.shape) to labels on the scan's own grid, as uint8, uint16 or int32.

    Scores are interpolated linearly before `winners` takes (K, *slab) to labels (*slab), some planes at
    a time: all classes of a long scan would not fit into memory. `finish` sees all labels (*space)
    together. Outside the prepared box is 0.
    """
    extent = tuple(h - lo for lo, h in zip(grid.low, grid.high, strict=True))
    found = finish(_won(scores, extent, winners))
    fitting = (t for t in (np.uint8, np.uint16, np.int32) if found.max() <= np.iinfo(t).max)
    found = found.astype(next(fitting), copy=False)
    whole = np.zeros(grid.canonical, found.dtype)
    inside = [
        (max(lo, 0), min(h, n))
        for lo, h, n in zip(grid.low, grid.high, grid.canonical, strict=True)
    ]
    into = tuple(slice(a, b) for a, b in inside)
    out_of = tuple(slice(a - lo, b - lo) for (a, b), lo in zip(inside, grid.low, strict=True))
    whole[into] = found[out_of]
    canonical = reorient(scan, orientation)
    return Volume(reorient(canonical.with_array(whole[None]), scan.orientation).array, scan.affine)


def _won(scores: np.ndarray, shape: tuple[int, ...], winners) -> np.ndarray:
    """The winners (*shape) among scores (K, *space) that are resized as `resize` does, by slabs."""
    import torch
    from torch.nn.functional import interpolate

    scores = _blurred(scores.astype(np.float32, copy=False), shape)
    n, old = shape[0], scores.shape[1]
    at = np.clip((np.arange(n) + 0.5) * old / n - 0.5, 0, old - 1)
    low = np.minimum(at.astype(int), max(old - 2, 0))
    high, share = np.minimum(low + 1, old - 1), (at - low).astype(np.float32)
    few = max(1, SLAB_BYTES // (4 * len(scores) * math.prod(shape[1:])))
    mode, out = {2: "linear", 3: "bilinear"}[len(shape)], np.zeros(shape, np.int32)
    for first in range(0, n, few):
        some = slice(first, first + few)
        part = share[some].reshape(1, -1, *[1] * (len(shape) - 1))
        planes = scores[:, low[some]] * (1 - part) + scores[:, high[some]] * part
        if planes.shape[2:] != shape[1:]:
            tensor = torch.from_numpy(planes)
            planes = interpolate(tensor, shape[1:], mode=mode, align_corners=False).numpy()
        out[some] = winners(planes)
    return out


def _blurred(array: np.ndarray, shape) -> np.ndarray:
    """(C, *space) without what a coarser grid of `shape` could not show."""
    factors = [old / new for old, new in zip(array.shape[1:], shape, strict=True)]
    if max(factors) <= 1:
        return array
    sigma = [max(f - 1, 0) / 2 for f in factors]
    filtered = np.empty_like(array)
    for channel, out in zip(array, filtered, strict=True):
        ndimage.gaussian_filter(channel, sigma, output=out, mode="nearest")
    return filtered


def resize(array: np.ndarray, shape, smooth: bool) -> np.ndarray:
    """Resize (C, *space) over the same extent: linear with anti-aliasing, or nearest for labels."""
    if tuple(array.shape[1:]) == tuple(shape):
        return array
    import torch
    from torch.nn.functional import interpolate

    array = _blurred(array, shape) if smooth else array
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)] if smooth else "nearest-exact"
    options = {"align_corners": False} if smooth else {}
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    out = interpolate(tensor, tuple(int(n) for n in shape), mode=mode, **options)[0].numpy()
    return out.astype(array.dtype, copy=False)


def _to_grid(volume: Volume, grid: Grid, smooth: bool, fill: float) -> Volume:
    before = [max(-lo, 0) for lo in grid.low]
    after = [max(h - n, 0) for h, n in zip(grid.high, grid.canonical, strict=True)]
    inside_low = [max(lo, 0) for lo in grid.low]
    inside_high = [min(h, n) for h, n in zip(grid.high, grid.canonical, strict=True)]
    part = crop(volume, inside_low, inside_high)
    array = part.array
    if any(before + after):
        array = np.pad(array, [(0, 0), *zip(before, after, strict=True)], constant_values=fill)
    offset = np.eye(4)
    offset[: volume.ndim, 3] = [-b for b in before]
    affine = resized_affine(part.affine @ offset, array.shape[1:], grid.shape)
    return Volume(resize(array, grid.shape, smooth), affine, volume.modality, volume.remarks)


def _few_whole_numbers(array: np.ndarray) -> bool:
    if array.ndim < 4 or array.dtype.kind == "f" or array.min() != 0 or array.max() > LABELS_MAX:
        return False
    return len(np.unique(array)) <= LABELS_MAX


def _foreground(image: np.ndarray, recipe: Recipe) -> np.ndarray:
    if recipe.foreground == "all":
        return np.ones(image.shape, bool)
    if recipe.foreground == "nonzero":
        return image > image.min()
    if recipe.intensity == "hu":
        return image > -500
    from skimage.filters import threshold_otsu

    step = max(1, int((image.size / SAMPLE) ** (1 / image.ndim)))
    sample = image[(slice(None, None, step),) * image.ndim]
    # Half of Otsu's value keeps dark tissue; Otsu itself splits bright fat from the rest.
    return image > image.min() + (threshold_otsu(sample) - image.min()) / 2


def _box(body: np.ndarray, scan: Volume, recipe: Recipe) -> tuple[tuple[int, ...], tuple[int, ...]]:
    low, high = [0] * scan.ndim, list(scan.shape)
    if recipe.crop and body.any():
        labels, count = ndimage.label(ndimage.binary_opening(body) if scan.ndim == 3 else body)
        if count:
            # Plane by plane, since bincount copies what it counts into 8 bytes a voxel.
            sizes = sum(np.bincount(plane.ravel(), minlength=count + 1) for plane in labels)
            largest = sizes[1:].argmax()
            where = ndimage.find_objects(labels)[largest]
            margin = [int(np.ceil(recipe.margin / s)) for s in scan.spacing]
            low = [max(w.start - m, 0) for w, m in zip(where, margin, strict=True)]
            high = [min(w.stop + m, n) for w, m, n in zip(where, margin, scan.shape, strict=True)]
    if recipe.size:
        # Widen the box to the aspect of the target grid, so that nothing is stretched.
        mm = [(h - lo) * s for lo, h, s in zip(low, high, scan.spacing, strict=True)]
        unit = max(m / n for m, n in zip(mm, recipe.size, strict=True))
        for axis, (n, s) in enumerate(zip(recipe.size, scan.spacing, strict=True)):
            extra = max(round(unit * n / s) - (high[axis] - low[axis]), 0)
            low[axis], high[axis] = low[axis] - extra // 2, high[axis] + extra - extra // 2
    return tuple(map(int, low)), tuple(map(int, high))


def _target_shape(scan: Volume, low, high, recipe: Recipe) -> tuple[int, ...]:
    extent = [h - lo for lo, h in zip(low, high, strict=True)]
    if recipe.size:
        return tuple(recipe.size)
    if recipe.spacing:
        pairs = zip(extent, scan.spacing, recipe.spacing, strict=True)
        return tuple(max(1, round(n * have / want)) for n, have, want in pairs)
    return tuple(extent)


def _refuse_flood(scan: Volume, shape: Sequence[int], name: str) -> None:
    """Raises UserError TOO_LARGE for a grid that this machine cannot hold."""
    needed = math.prod(shape) * len(scan.array) * BYTES_A_VOXEL
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        cause = f"the grid {'x'.join(map(str, shape))} needs {needed / 2**30:.3g} GiB of memory, "
        size = "x".join(f"{mm:g}" for mm in scan.spacing)
        cause += f"there are {there / 2**30:.3g} (voxels of {size} mm)"
        raise UserError("TOO_LARGE", name, cause, "mend its voxel size, or enlarge recipe.spacing")


def _normalise(image: np.ndarray, body: np.ndarray, recipe: Recipe, name: str) -> None:
    """Scale (C, *space) in place, to spare the memory of a big volume's copies."""
    if recipe.intensity == "hu":
        low, high = recipe.window
        if image.max() <= low or image.min() >= high or image.min() == image.max():
            raise UserError(
                "CONSTANT", name, f"all voxels ({image.min():g} to {image.max():g} HU) look alike "
                f"in the window {low:g} to {high:g} HU",
                "leave this scan out, or choose another recipe.window",
            )  # fmt: skip
        return _scale(image, low, high)
    for channel in image:
        inside = channel[body] if body.any() and not body.all() else channel.reshape(-1)
        low, high = np.percentile(inside[:: max(1, inside.size // SAMPLE)], recipe.percentiles)
        low, high = float(low), float(high)
        if not high > low:
            low, high = float(inside.min()), float(inside.max())
        if not high > low:
            raise UserError(
                "CONSTANT", name, f"all voxels have the value {low:g}",
                "leave this scan out; it holds no image",
            )  # fmt: skip
        if recipe.intensity == "percentile":
            _scale(channel, low, high)
        else:
            inside = np.clip(inside, low, high)
            mean, deviation = float(inside.mean()), float(inside.std())
            del inside
            np.clip(channel, low, high, out=channel)
            channel -= mean
            channel /= deviation
            np.clip(channel, -CLIP_Z, CLIP_Z, out=channel)


def _scale(array: np.ndarray, low: float, high: float) -> None:
    """Clip to low..high and stretch to -1..1, in place."""
    np.clip(array, low, high, out=array)
    array -= low
    array /= high - low
    array *= 2
    array -= 1
