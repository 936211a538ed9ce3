"""Phantom cohorts as manifests, with all that a round trip must keep."""

import pytest

from medssl.data.exchange import FORMATS, format_of
from medssl.data.exchange.entry import Reading, Writing
from medssl.data.index import scan
from medssl.data.labels import attach
from medssl.data.manifest import Manifest
from medssl.data.phantom.cohort import make


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return make(
        tmp_path_factory.mktemp("phantoms"), ct=2, films=2, formats=("nifti", "dicom"), seed=3
    )


def labelled(root, labels, table, modality="") -> Manifest:
    manifest = Manifest.from_rows(root, scan(root, modality))
    lines = [",".join(table)]
    for number, id in enumerate(manifest.used["id"]):
        values = {"id": id, "score": "1.5" if number else "", "code": f"0{number}",
                  "grade": str(number), "finding": '=1+1 "x"; y' if number else "none"}  # fmt: skip
        lines.append(",".join('"' + values[c].replace('"', '""') + '"' for c in table))
    file = labels[0].parent / f"{root.name}_more.csv"
    file.write_text("\n".join(lines))
    return attach(manifest, [*labels, file])


@pytest.fixture(scope="session")
def volumes(phantoms):
    """Four CT of two patients as NIfTI, with masks, splits and labels of every type."""
    ct = phantoms / "ct"
    table = ("id", "score", "code", "grade", "finding")
    return labelled(ct / "images", [ct / "labels", ct / "scans.csv"], table, "CT")


@pytest.fixture(scope="session")
def series(phantoms):
    """The same CT as DICOM series; patients and studies are those of the headers."""
    return Manifest.from_rows(phantoms / "ct/dicom", scan(phantoms / "ct/dicom"))


@pytest.fixture(scope="session")
def films(phantoms):
    """PNG films of one class label, with boxes."""
    film = phantoms / "film"
    manifest = Manifest.from_rows(film / "png", scan(film / "png", "DX"))
    return attach(manifest, [film / "labels.csv", film / "boxes.json"])


@pytest.fixture(params=FORMATS)
def format(request):
    return request.param


@pytest.fixture
def passed_on(tmp_path):
    """Writes a manifest in a format and reads it back: (manifest, folder)."""

    def there_and_back(manifest, format, files="link", **reading):
        out = tmp_path / f"Dataset001_{format}"
        module = format_of(format)
        module.write(manifest, out, Writing(files))
        return module.read(out, Reading(outside=files == "link", **reading)), out

    return there_and_back
