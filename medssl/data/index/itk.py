"""MetaImage (.mha, .mhd + raw) and NRRD (.nrrd, .nhdr + raw)."""

import re
from pathlib import Path

import numpy as np

from medssl.data.index import checks, stored
from medssl.data.index.itk_fields import Text
from medssl.data.index.itk_text import read_text
from medssl.data.index.row import Row, each, join
from medssl.data.volume import LPS_TO_RAS, Volume
from medssl.errors import UserError


def inspect(paths: list[Path], workers: int = 0) -> list[Row]:
    """One row a file, from headers only; these formats do not know their modality."""
    return list(each(paths, "itk", _inspect_one, workers))


def read(paths: list[Path]) -> Volume:
    """One volume (1, X, Y, Z), or a film (1, rows, columns) from a 2D file.

    SimpleITK gives the place in the world only; voxels are read here, where a packed stream is
    read to its checksum. Raises UserError.
    """
    text = read_text(paths[0])
    affine, remarks = _place(text), []
    if text.packing == "digits":
        array = _digits(text)
    else:
        start = text.data.stat().st_size - text.expected if text.start < 0 else text.start
        raw, remarks = stored.voxels(text.data, start, text.expected, text.packing == "packed")
        array = np.frombuffer(raw, text.dtype)
    array = checks.compact(array.reshape(text.sizes, order="F"), text.path)
    if len(text.sizes) == 2:
        array = np.ascontiguousarray(array.T)
    return Volume(array[None], affine, remarks=tuple(remarks))


def _inspect_one(path: Path) -> Row:
    text = read_text(path)
    affine = _place(text)
    remarks = text.remarks + checks.affine(affine, path)
    files = [path] if text.data == path else [path, text.data]
    spacing = np.linalg.norm(affine[:3, : len(text.sizes)], axis=0).tolist()
    known = {"place": checks.place(affine), "whole": text.dtype.kind in "iu"}
    if len(text.sizes) == 2:
        remarks += checks.voxel_size(spacing, path)
        return Row(files, "itk", shape=join(text.sizes[::-1]), spacing=join(spacing),
                   remarks=remarks, **known)  # fmt: skip
    return Row(files, "itk", shape=join(text.sizes), spacing=join(spacing),
               orientation=checks.orientation(affine), remarks=remarks, **known)  # fmt: skip


def _place(text: Text) -> np.ndarray:
    """The affine as SimpleITK reads it from the header; sizes and type must be those read here."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(text.path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _from_itk(text.path, error) from error
    if reader.GetNumberOfComponents() > 1:
        cause = f"{reader.GetNumberOfComponents()} values a voxel, expected 1"
        raise UserError("DTYPE", text.path, cause, "save one channel a file")
    if tuple(reader.GetSize()) != text.sizes:
        cause = f"sizes are {join(text.sizes)}, ITK reads {join(reader.GetSize())}"
        raise UserError("HEADER", text.path, cause, "export it again")
    lengths = np.linalg.norm(np.reshape(reader.GetDirection(), (len(text.sizes), -1)), axis=0)
    if not np.allclose(lengths, 1, atol=0.01):
        cause = f"the axes of its direction matrix have the lengths {join(lengths.tolist())}, not 1"
        raise UserError("GEOMETRY", text.path, cause, "export it again")
    return _affine(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())


def _digits(text: Text) -> np.ndarray:
    with open(text.data, "rb") as stream:
        stream.seek(max(text.start, 0))
        words = stream.read().split()
    if len(words) != text.expected // text.dtype.itemsize:
        cause = f"found {len(words)} numbers, expected {text.expected // text.dtype.itemsize}"
        raise UserError("CUT", text.data, cause, "fetch the file again")
    return np.array(words).astype(text.dtype)


def _affine(direction, spacing, origin) -> np.ndarray:
    """RAS affine from ITK's LPS frame; rows and columns' sizes only for a 2D image."""
    affine = np.eye(4)
    if len(spacing) == 2:
        affine[[0, 1], [0, 1]] = spacing[::-1]
        return affine
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing)
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def _from_itk(path: Path, error: RuntimeError) -> UserError:
    # ITK's own words repeat paths and fields of the header.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    where = re.match(r"ITK ERROR: (\w+)", lines[-1]) or re.search(
        r"(itk\w+|\w+ImageIO)", str(error)
    )
    cause = f"ITK refuses it ({where.group(1) if where else 'no reason given'})"
    return UserError("UNREADABLE", path, cause, "export it again")
