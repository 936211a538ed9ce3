"""A scan to leaf through in Jupyter: three planes with sliders, a window, masks laid over it.

The output holds all it shows, slices as PNG and a few lines of script, and fetches nothing. Where
scripts are not run (an untrusted notebook, a site that shows notebooks) the slices it starts with
are there as pictures.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from medssl.data.display import Shown, grey_levels
from medssl.data.index.row import BURNED_IN
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.data.volume import Volume, differences, reorient, same_grid, spacing_affine
from medssl.errors import UserError
from medssl.reports.figures import LEFT, fullest
from medssl.reports.outlines import coloured
from medssl.reports.slices import AXES, Slices
from medssl.reports.style import COLOURS

LONGEST = {2: 1024, 3: 256}  # pixels of a film's side, of a volume's
WIDTH, HEIGHT, FILM = (
    760,
    340,
    440,
)  # pixels of the page: three planes together, a film's longer side
LISTED = 12  # classes named below
NAMES = {None: "film", 2: "axial", 1: "coronal", 0: "sagittal"}
LEFT_OF = {None: "", **dict(zip(AXES[3], LEFT, strict=True))}
# Between each two, an equal share of the grey levels: soft tissue gets steps of 2 to 4 HU.
HU = (-1000.0, -200.0, 0.0, 100.0, 300.0, 1500.0)
WINDOWS = {
    "soft tissue": (-160, 240), "lung": (-1350, 150), "bone": (-450, 1050), "brain": (0, 80),
}  # fmt: skip


def view(
    scan: Volume | np.ndarray | Store | Manifest, mask: Volume | np.ndarray | None = None, *,
    item: str = "", spacing: Sequence[float] | None = None, classes: dict[int, str] | None = None,
    window: tuple[float, float] | None = None, channel: int = 0, fill: float = 0.2,
    title: str = "", megabytes: float = 3.0,
) -> Shown:  # fmt: skip
    """A volume in three planes through the fullest part of its mask, or its middle; or a film.

    scan       a Volume; an array (X, Y, Z) along RAS, (C, X, Y, Z) or (rows, columns); or a Store or
               Manifest, of which `item` is shown, with the mask that it has
    mask       whole numbers on the scan's grid, drawn as outlines and tints; 0 is background
    spacing    of an array, mm; none: cubic voxels
    classes    values of the mask to show, and their names; none: all
    window     values shown black and white; none: soft tissue for CT, else nearly the whole range
    channel    of a volume; the channels of a film are averaged
    fill       opacity of tints, 0 to 1
    megabytes  what the output may take: beyond that slices are kept as JPEG, then some left out

    Raises UserError for an item of which text is burned into the pixels, since notebooks are passed on.
    """
    volume, mask = _on_one_grid(*_read(scan, mask, item, spacing))
    if not 0 <= channel < len(volume.array):
        raise UserError("CONFIG", "channel", f"is {channel}", f"give 0 to {len(volume.array) - 1}")
    hu = volume.modality == "CT" and volume.ndim == 3
    image = volume.array.mean(0) if volume.ndim == 2 else volume.array[channel]
    steps = [-(-n // LONGEST[image.ndim]) for n in image.shape]
    thin = tuple(slice(None, None, step) for step in steps)
    knots, window = _grey_scale(image[thin], hu, window)
    codes = np.linspace(0, 255, len(knots))
    levels = np.interp(np.nan_to_num(image[thin], nan=knots[0]), knots, codes).round()
    if classes is None:
        classes = {int(k): str(k) for k in np.unique(mask) if k} if mask is not None else {}
    colours = None if mask is None else coloured(mask[thin], list(classes))
    slices = Slices(levels.astype(np.uint8), colours, fill)
    start = dict.fromkeys(slices.axes, 0)
    if image.ndim == 3:
        marked = colours is not None and colours.any()
        start = dict(enumerate(fullest(colours) if marked else [n // 2 for n in levels.shape]))
    every, kind = slices.fitting(start, max(int(megabytes * 1e6), 1))
    grey = grey_levels(np.interp(np.arange(256), codes, knots), *window)
    size = [s * n for s, n in zip(volume.spacing, image.shape, strict=True)]  # mm
    shown = []
    for axis in slices.axes:
        at = range(start[axis] % every, slices.count(axis), every)
        rows, columns = _on_page(size, axis)
        shown.append({
            "name": NAMES[axis], "left": LEFT_OF[axis], "rows": rows, "columns": columns,
            "numbers": [1 if axis is None else i * steps[axis] + 1 for i in at],
            "of": 1 if axis is None else image.shape[axis], "first": at.index(start[axis]),
            "images": [slices.image(axis, i, kind) for i in at],
            "masks": [slices.mask(axis, i) for i in at] if colours is not None else [],
            "still": slices.still(axis, start[axis], grey),
        })  # fmt: skip
    return Shown(
        _page(shown, classes, knots, window, hu, title or item, _words(steps, every, kind))
    )


def _read(scan, mask, item: str, spacing) -> tuple[Volume, Volume | np.ndarray | None]:
    if isinstance(scan, (Store, Manifest)):
        if not item:
            raise UserError("CONFIG", "item", "was not given", "name a scan: view(store, item=...)")
        return (
            _of_store(scan, item, mask) if isinstance(scan, Store) else _of_files(scan, item, mask)
        )
    if isinstance(scan, Volume):
        return scan, mask
    array = np.asarray(scan)
    if array.ndim not in (2, 3, 4):
        raise UserError(
            "CONFIG",
            "scan",
            f"has {array.ndim} axes",
            "give (X, Y, Z), (C, X, Y, Z) or (rows, columns)",
        )
    array = array if array.ndim == 4 else array[None]
    spacing = [1.0] * (array.ndim - 1) if spacing is None else list(spacing)
    if len(spacing) != array.ndim - 1 or min(spacing) <= 0:
        raise UserError(
            "CONFIG", "spacing", f"is {spacing}", f"give {array.ndim - 1} sizes above 0, in mm"
        )
    return Volume(array, spacing_affine(spacing)), mask


def _of_store(store: Store, item: str, mask):
    if item not in store.items.index:
        raise UserError("STORE", item, "there is no scan of this id", "see the id column")
    if store.burned_in[item]:
        raise _burned_in(item)
    if mask is None and store.items.at[item, "has_mask"]:
        mask = store.read_mask(item)
    return Volume(store.read(item), store.affine(item)), mask


def _of_files(manifest: Manifest, item: str, mask):
    if BURNED_IN in manifest.row(item)["remarks"]:
        raise _burned_in(item)
    volume = manifest.volume(item)
    return volume, manifest.mask(item, volume) if mask is None else mask


def _burned_in(item: str) -> UserError:
    return UserError(
        "PHI", item, f"{BURNED_IN}, and outputs of notebooks are passed on",
        "give its volume itself where the notebook stays: view(manifest.volume(id))",
    )  # fmt: skip


def _on_one_grid(volume: Volume, mask) -> tuple[Volume, np.ndarray | None]:
    """Both turned to RAS; the mask as whole numbers of the image's shape."""
    if mask is None:
        return reorient(volume, "RAS"), None
    if not isinstance(mask, Volume):
        array = np.asarray(mask)
        array = array[None] if array.ndim == volume.ndim else array
        if array.ndim != volume.ndim + 1 or array.shape[1:] != volume.shape:
            raise UserError(
                "GEOMETRY", "mask", f"has shape {array.shape[1:]}, the scan {volume.shape}",
                "give a mask on the scan's grid",
            )  # fmt: skip
        mask = Volume(array, volume.affine)
    volume, mask = reorient(volume, "RAS"), reorient(mask, "RAS")
    if not same_grid(volume, mask):
        cause = f"lies on another grid than the scan: {differences(volume, mask)}"
        raise UserError("GEOMETRY", "mask", cause, "resample the mask onto the scan's grid")
    return volume, mask.array[0].astype(np.int64)


def _grey_scale(image: np.ndarray, hu: bool, window) -> tuple[list[float], tuple[float, float]]:
    """Values between which grey levels lie evenly, and those shown black and white at first."""
    known = image[np.isfinite(image)]
    lowest, low, high, highest = (
        np.percentile(known, [0, 0.5, 99.7, 100]) if known.size else (0.0, 0.0, 1.0, 1.0)
    )
    low, high = window or (WINDOWS["soft tissue"] if hu else (low, high))
    low, high = float(low), float(high) if high > low else float(low) + 1.0
    if hu:
        return [min(HU[0], low), *HU[1:-1], max(HU[-1], high)], (low, high)
    # Beyond twice the window on either side nothing is told apart.
    reach = 2 * (high - low)
    return [min(low, max(lowest, low - reach)), max(high, min(highest, high + reach))], (low, high)


def _on_page(size: Sequence[float], axis: int | None) -> tuple[int, int]:
    """Height and width in pixels of a film or of a plane; all planes have one scale. `size` in mm."""
    if axis is None:
        scale = FILM / max(size)
        rows, columns = size
    else:
        x, y, z = size
        scale = min(WIDTH / (x + x + y), HEIGHT / max(y, z))
        rows, columns = [(z, y), (z, x), (y, x)][axis]
    return max(round(rows * scale), 1), max(round(columns * scale), 1)


def _words(steps: Sequence[int], every: int, kind: str) -> str:
    said = []
    if max(steps) > 1:
        said.append(f"one voxel in {'x'.join(map(str, steps))}")
    if every > 1:
        said.append(f"one slice in {every}")
    if kind == "jpeg":
        said.append("as JPEG")
    return f"Shown here: {', '.join(said)}." if said else ""


def _page(shown, classes, knots, window, hu: bool, title: str, words: str) -> str:
    environment = Environment(
        loader=PackageLoader("medssl.reports"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    named = [(COLOURS[j % len(COLOURS)], name) for j, name in enumerate(classes.values())]
    script = {
        "planes": [{k: p[k] for k in ("name", "images", "masks", "numbers", "first")} for p in shown],
        "knots": knots, "window": window, "windows": WINDOWS if hu else {},
        "unit": "HU" if hu else "",
    }  # fmt: skip
    text = json.dumps(script).replace("<", "\\u003c")  # ends no script element
    return environment.get_template("viewer.html.j2").render(
        id="medssl-" + hashlib.sha256(text.encode()).hexdigest()[:12], title=title, planes=shown,
        classes=named[:LISTED], more=max(0, len(named) - LISTED), words=words, data=text,
    )  # fmt: skip
