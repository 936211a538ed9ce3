"""Films as PNG files."""

from pathlib import Path

import numpy as np
from PIL import Image


def film(path: Path, film: np.ndarray) -> None:
    """A 16-bit grey PNG of a 12-bit film (rows, columns); values are spread to 0..65520."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(film.astype(np.uint16) << 4).save(path)
