"""Volumes as files that other tools open: NIfTI for scans and labels, PNG for films."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medssl.data.files import write_atomically
from medssl.data.index import nifti
from medssl.data.volume import Volume
from medssl.errors import UserError

SCANNER = 1
MOST = np.iinfo(np.uint16).max


def write_volume(volume: Volume, path: Path, code: int = SCANNER) -> Path:
    """Write one channel as `path`.nii.gz with the affine as given, or as `path`.png for a film.

    `code` is NIfTI's word for the space that the affine leads to. The qform says the same as the
    sform, unless the axes are sheared, which it cannot express. A film's pixel size is not kept.
    Raises UserError UNSUPPORTED for a film of other than whole numbers from 0 to 65535.
    """
    array = volume.array[0]
    if volume.ndim == 2:
        from PIL import Image

        path = path.with_name(path.name + ".png")
        grey = _grey(array, path)
        write_atomically(path, lambda p: Image.fromarray(grey).save(p))
        return path
    path = path.with_name(path.name + ".nii.gz")
    image = nib.Nifti1Image(array, volume.affine)
    image.set_sform(volume.affine, code)
    image.set_qform(volume.affine, code)
    if not np.allclose(image.get_qform(), volume.affine, atol=1e-3):
        image.set_qform(None, 0)
    image.header.set_xyzt_units("mm")
    write_atomically(path, lambda p: nib.save(image, p))
    return path


def affine_code(files: list[Path], format: str) -> int:
    """What a NIfTI source says its affine leads to (scanner, aligned, template space)."""
    return nifti.read_header(files[0]).space or SCANNER if format == "nifti" else SCANNER


def _grey(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype in (np.uint8, np.uint16):
        return array
    whole = np.rint(array)
    if not np.array_equal(whole, array) or whole.min() < 0 or whole.max() > MOST:
        cause = f"a film with values from {array.min():g} to {array.max():g} is no PNG"
        raise UserError("UNSUPPORTED", path.name, cause, "leave it out, or pass it on as it is")
    return whole.astype(np.uint16)
