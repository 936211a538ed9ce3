"""Volumes as NIfTI files."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np


def volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """A .nii.gz whose bytes depend on array and affine alone; units are mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed:
        packed.write(image.to_bytes())
