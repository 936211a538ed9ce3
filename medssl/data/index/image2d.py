"""PNG, JPEG and TIFF films through Pillow, as one grey channel (1, rows, columns)."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from medssl.data.index import checks, tiff
from medssl.data.index.film_structure import check_chunks, check_end, check_whole, png_depth
from medssl.data.index.row import NO_SPACING, Row, each, join, unreadable
from medssl.data.volume import Volume, spacing_affine
from medssl.errors import UserError

MAX_PIXELS = 200_000_000
GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")
BOMB_BYTES = 50 << 20  # a genuine film of this size is never packed 200:1
EXIF_ORIENTATION = 0x0112
LUMINANCE = np.array([0.299, 0.587, 0.114])


def inspect(paths: list[Path], workers: int = 0) -> list[Row]:
    """One row a file, from headers only; such a file does not know its modality or pixel size."""
    return list(each(paths, "image2d", _inspect_one, workers))


def read(paths: list[Path]) -> Volume:
    """One film (1, rows, columns): EXIF turned, 8 and 16 bit exact, colour as luminance.

    Equal colour channels are taken as they are. Raises UserError.
    """
    image = _decoded(paths[0])
    array = np.asarray(image if image.mode in GREY else image.convert("RGB"))
    if array.ndim == 3:
        same = (array == array[..., :1]).all()
        array = array[..., 0] if same else np.rint(array @ LUMINANCE).astype(np.uint8)
    return _film(array, paths[0])


def read_labels(path: Path) -> Volume:
    """A label mask (1, rows, columns): palette images give their indices, not their colours."""
    image = _decoded(path)
    if image.mode != "P":
        return read([path])
    return _film(np.asarray(image), path)


def _film(array: np.ndarray, path: Path) -> Volume:
    if array.dtype == np.int32 and array.min() >= 0 and array.max() < 2**16:
        array = array.astype(np.uint16)
    array = checks.compact(array, path)
    return Volume(np.ascontiguousarray(array[None]), spacing_affine((1, 1)))


def _inspect_one(path: Path) -> Row:
    with _open(path) as image:
        remarks = [NO_SPACING]
        rows, columns = image.height, image.width
        turn = image.getexif().get(EXIF_ORIENTATION, 1)
        if turn not in (0, 1):
            remarks.append(f"turned as EXIF says ({turn})")
        if image.mode not in GREY:
            remarks.append(f"{image.mode} read as one grey channel")
        if image.format == "PNG" and png_depth(path) == 16 and image.mode not in GREY:
            remarks.append("16-bit colour reduced to 8 bits")
        check_end(path, image.format)
        if image.format == "TIFF":
            remarks += tiff.check(image, path)
    shape = (columns, rows) if turn in (5, 6, 7, 8) else (rows, columns)
    return Row([path], "image2d", shape=join(shape), spacing=join((1.0, 1.0)), remarks=remarks)


def _open(path: Path) -> Image.Image:
    """Open without decoding. Raises UserError for dimension bombs and files of several pages."""
    check_chunks(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("PNG", "JPEG", "TIFF"))
    except Image.DecompressionBombError as error:
        raise UserError("TOO_LARGE", path, f"{error}", "cut or shrink it") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(path, error) from error
    if image.width * image.height > MAX_PIXELS:
        cause = f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are read"
        raise UserError("TOO_LARGE", path, cause, "cut or shrink it")
    unpacked = image.width * image.height * len(image.getbands())
    checks.bomb(unpacked, path.stat().st_size, path, least=BOMB_BYTES)
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "JPEG":
        cause = f"holds {pages} pages, and which of them is meant cannot be told"
        raise UserError("MULTIPAGE", path, cause, "save one file a page")
    return image


def _decoded(path: Path) -> Image.Image:
    with _open(path) as image:
        check_whole(path, image.format)
        if image.format == "TIFF":
            tiff.check(image, path)
            tiff.check_packed(image, path)
            image = tiff.as_meant(image, path)
        try:
            return ImageOps.exif_transpose(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise unreadable(path, error) from error
