from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation

from tests.faults import good


def dataset(pixels: np.ndarray, **tags) -> pydicom.Dataset:
    """One image, a CT if the tags do not say otherwise; None deletes."""
    return good.dicom(pixels, **{"SOPClassUID": CTImageStorage, "Modality": "CT", **tags})


@pytest.fixture
def slice_of():
    """Makes slice k of a CT: 4 rows, 5 columns, 0.5 x 0.7 mm, 2 mm apart, intercept -1000 HU."""

    def make(k: int, pixels: np.ndarray | None = None, **tags) -> pydicom.Dataset:
        if pixels is None:
            pixels = np.arange(20, dtype=np.int16).reshape(4, 5) + 100 * k
        place = {
            "ImagePositionPatient": [-10.0, -20.0, 30.0 + 2 * k],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.5, 0.7],
            "RescaleSlope": 1,
            "RescaleIntercept": -1000,
            "InstanceNumber": k + 1,
        }
        return dataset(pixels, **{**place, **tags})

    return make


@pytest.fixture
def film():
    """Makes a DX image of the given pixels."""

    def make(pixels: np.ndarray, **tags) -> pydicom.Dataset:
        kind = {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX"}
        return dataset(pixels, **{**kind, **tags})

    return make


@pytest.fixture
def save(tmp_path):
    """Writes datasets as <name><number>.dcm into a folder and returns their paths."""

    def write(datasets, folder: str = "series", name: str = "i") -> list[Path]:
        paths = []
        for number, d in enumerate(datasets):
            path = tmp_path / folder / f"{name}{number:03d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            d.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    return write
