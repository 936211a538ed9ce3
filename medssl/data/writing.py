"""Volumes and films as files that other programs open."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medssl.data.volume import Volume
from medssl.errors import UserError

SCANNER = 1  # NIfTI's word for the space that an affine leads to


def write_image(volume: Volume, stem: Path, code: int = SCANNER) -> Path:
    """Write the first channel as `stem`.nii.gz with the affine as given, or as .png for a film.

    `code` is NIfTI's word for the space that the affine leads to. The qform says the same as the
    sform, unless the axes are sheared, which it cannot express. Raises UserError DTYPE for a film
    that 16 bits cannot hold exactly.
    """
    array = volume.array[0]
    if volume.ndim == 2:
        return _write_png(array, stem.with_name(stem.name + ".png"))
    if array.dtype in (np.int64, np.uint64, np.bool_):  # not every program reads these
        array = array.astype(np.int32 if array.dtype != np.bool_ else np.uint8)
    path = stem.with_name(stem.name + ".nii.gz")
    image = nib.Nifti1Image(array, volume.affine)
    image.set_sform(volume.affine, code)
    image.set_qform(volume.affine, code)
    if not np.allclose(image.get_qform(), volume.affine, atol=1e-3):
        image.set_qform(None, 0)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def _write_png(array: np.ndarray, path: Path) -> Path:
    from PIL import Image

    kind = np.uint8 if array.max(initial=0) < 256 else np.uint16
    kept = array.astype(kind)
    if not np.array_equal(kept, array):
        cause = f"values from {array.min():g} to {array.max():g} are no whole numbers of 16 bits"
        raise UserError("DTYPE", path, cause, "choose a format that leaves the files as they are")
    Image.fromarray(kept).save(path)
    return path
