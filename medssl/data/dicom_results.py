"""Predictions as an archive takes them: DICOM-SEG with coded segments, and a report of their volumes, or
of boxes.

Both belong to the study of the series they were made from, and carry its patient's name, as anything must
that goes back there. UIDs follow from the series and the model: the same prediction gives the same.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from medssl.data.dicom_codes import SCHEME, coded
from medssl.data.files import write_atomically
from medssl.data.volume import LPS_TO_RAS, Volume
from medssl.errors import UserError, one_line

SERIES_NUMBER = 9000
NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# What must be there, and may be empty; old exports often leave it out.
EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
MAKER = {"manufacturer": "medssl", "manufacturer_model_name": "medssl", "device_serial_number": "1"}


def write_results(
    labels: Volume, files: Sequence[Path], path: Path, classes: dict[int, str], model: str,
    codes: dict[str, str] = MappingProxyType({}),
) -> list[Path]:  # fmt: skip
    """Write `path`.seg.dcm and `path`.sr.dcm for labels (1, X, Y, Z) on the grid of a DICOM series.

    classes  name of each label; those without a voxel get no segment
    model    the hash of the model's weights
    codes    of classes by name, as "SCT:10200004:Liver"

    Raises UserError DICOM where nothing was found, or the series does not say what the standard asks for.
    """
    there = {k: name for k, name in classes.items() if (labels.array == k).any()}
    if not there:
        raise UserError(
            "DICOM", path.name, "no class was found in it, and a segmentation needs a segment",
            "nothing is to be archived of this scan",
        )  # fmt: skip

    def made(sources: list) -> dict:
        segments = _segmentation(labels, sources, there, model, codes)
        report = _report(sources, _volumes(labels, sources, segments, there, model, codes), "volumes", model,
                         [segments])  # fmt: skip
        return {".seg.dcm": segments, ".sr.dcm": report}

    return _written(files, path, made, [*NEEDED, "FrameOfReferenceUID"])


def write_boxes(
    boxes: np.ndarray, names: Sequence[str], scores: np.ndarray, scan: Volume, files: Sequence[Path],
    path: Path, model: str, codes: dict[str, str] = MappingProxyType({}),
) -> list[Path]:  # fmt: skip
    """Write `path`.sr.dcm, a report of boxes (n, 2 d) along the axes of the scan that a DICOM series gives:
    outlines on its images, the longest side (mm) and the score of each.

    Raises UserError DICOM where there is no box, or the series does not say what the standard asks for.
    """
    if not len(boxes):
        raise UserError(
            "DICOM", path.name, "no box is called in it, and a report needs a finding",
            "nothing is to be archived of this scan",
        )  # fmt: skip

    def made(sources: list) -> dict:
        groups = [
            _box(box, name, float(score), number, scan, sources, model, codes)
            for number, (box, name, score) in enumerate(zip(boxes, names, scores, strict=True), 1)
        ]
        return {".sr.dcm": _report(sources, groups, "boxes", model)}

    return _written(files, path, made, NEEDED)


def _written(
    files: Sequence[Path], path: Path, made: Callable[[list], dict], needed: Sequence[str]
) -> list[Path]:
    """Files of `path` by their endings, of the datasets `made` from those of a series."""
    import pydicom

    sources = [_complete(pydicom.dcmread(f), path.name, needed) for f in files]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about what the scanner wrote, not about what is written
            datasets = made(sources)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(
            "DICOM", path.name, f"its series cannot be referred to ({one_line(error)})",
            "take the NIfTI file or the table, or mend the series' headers",
        ) from error  # fmt: skip
    written = []
    for ending, dataset in datasets.items():
        target = path.with_name(path.name + ending)
        write_atomically(target, lambda p, d=dataset: d.save_as(p), private=True)
        written.append(target)
    return written


def _segmentation(labels: Volume, sources: list, classes: dict[int, str], model: str, codes: dict):
    import highdicom as hd

    numbers = np.zeros(labels.shape, np.uint8 if len(classes) < 256 else np.uint16)
    for number, value in enumerate(classes, 1):
        numbers[labels.array[0] == value] = number
    # highdicom wants (slices, rows, columns); arrays of ours are (columns, rows, slices).
    lps = LPS_TO_RAS @ labels.affine
    volume = hd.Volume(
        np.ascontiguousarray(numbers.transpose(2, 1, 0)), lps[:, [2, 1, 0, 3]],
        coordinate_system="PATIENT", frame_of_reference_uid=sources[0].FrameOfReferenceUID,
    )  # fmt: skip
    return hd.seg.Segmentation(
        source_images=sources, pixel_array=volume, segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number, segment_label=name[:64], segmented_property_category=category,
                segmented_property_type=code, algorithm_type="AUTOMATIC",
                algorithm_identification=_algorithm(model), tracking_id=name[:64],
                tracking_uid=_uid(sources, model, "segment", name),
            )
            for number, name in enumerate(classes.values(), 1)
            for category, code in [coded(name, codes)]
        ],
        series_description="medssl segmentation", **_identity(sources, model, "SEG", 1),
    )  # fmt: skip


def _volumes(
    labels: Volume, sources: list, segments, classes: dict[int, str], model: str, codes: dict
) -> list:
    """What is measured of each segment."""
    import highdicom as hd
    from pydicom.sr.codedict import codes as known

    voxel_ml = abs(np.linalg.det(labels.affine[:3, :3])) / 1000
    series = hd.sr.SourceSeriesForSegmentation(sources[0].SeriesInstanceUID)
    groups = []
    for number, (value, name) in enumerate(classes.items(), 1):
        volume = round(float((labels.array == value).sum() * voxel_ml), 4)
        unit = hd.sr.CodedConcept("mL", "UCUM", "milliliter")
        groups.append(
            hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=_tracked(name, sources, model, "segment", name),
                referenced_segment=hd.sr.ReferencedSegment(
                    segments.SOPClassUID, segments.SOPInstanceUID, number, source_series=series
                ),
                finding_type=coded(name, codes)[1],
                measurements=[_measured(known.SCT.Volume, volume, unit, model)],
            )
        )  # fmt: skip
    return groups


def _box(
    box: np.ndarray, name: str, score: float, number: int, scan: Volume, sources: list, model: str,
    codes: dict,
):  # fmt: skip
    """A box as its outline on every image that it reaches, with its longest side and its score."""
    import highdicom as hd
    from pydicom.sr.codedict import codes as known

    d = scan.ndim
    film = [1, 0] if d == 2 else [0, 1]  # columns, then rows
    (x0, y0), (x1, y1) = box[:d][film], box[d:][film]
    outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    first, last = (0, 1) if d == 2 else (box[2], box[5])
    # A plane counts where the box reaches its middle, and one always does.
    planes = [z for z in range(len(sources)) if first <= z + 0.5 < last] or [
        int((first + last) / 2)
    ]
    images = sources if d == 2 else _by_plane(scan, sources)
    regions = [
        hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE, graphic_data=outline,
            source_image=hd.sr.SourceImageForRegion(
                referenced_sop_class_uid=images[z].SOPClassUID,
                referenced_sop_instance_uid=images[z].SOPInstanceUID,
            ),
        )
        for z in planes
    ]  # fmt: skip
    side = float(((box[d:] - box[:d]) * scan.spacing).max())
    millimetre = hd.sr.CodedConcept("mm", "UCUM", "millimeter")
    told = hd.sr.CodedConcept("detection_score", SCHEME, "Detection score")
    about = {
        "tracking_identifier": _tracked(f"{name} {number}", sources, model, "box", str(number)),
        "finding_type": coded(name, codes)[1],
        "measurements": [
            _measured(known.SCT.Diameter, round(side, 3), millimetre, model),
            _measured(told, round(score, 4), known.UCUM.NoUnits, model),
        ],
    }
    if d == 2:
        return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=regions[0], **about
        )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_regions=regions, **about
    )


def _by_plane(scan: Volume, sources: list) -> list:
    """The images of a series in the order of the scan's slices. Raises ValueError if some lie elsewhere."""
    to_voxel = np.linalg.inv(scan.affine) @ LPS_TO_RAS
    places = [(to_voxel @ [*map(float, s.ImagePositionPatient), 1])[2] for s in sources]
    order = np.argsort(places)
    if (
        len(sources) != scan.shape[2]
        or np.abs(np.sort(places) - np.arange(len(places))).max() > 0.1
    ):
        raise ValueError("its images are not the slices of the scan")
    return [sources[k] for k in order]


def _measured(what, value: float, unit, model: str):
    import highdicom as hd

    algorithm = hd.sr.AlgorithmIdentification("medssl", model[:12])
    return hd.sr.Measurement(name=what, value=value, unit=unit, algorithm_id=algorithm)


def _tracked(name: str, sources: list, model: str, *words: str):
    import highdicom as hd

    return hd.sr.TrackingIdentifier(identifier=name[:64], uid=_uid(sources, model, *words))


def _report(sources: list, groups: list, of: str, model: str, besides: Sequence = ()):
    """A structured report (TID 1500) of measured regions."""
    import highdicom as hd
    from pydicom.sr.codedict import codes as known

    device = hd.sr.ObserverContext(
        observer_type=known.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=_uid(sources, model, "device"), name="medssl"
        ),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=known.SCT.ImagingProcedure, imaging_measurements=groups,
        title=known.DCM.ImagingMeasurementReport,
    )  # fmt: skip
    return hd.sr.Comprehensive3DSR(
        evidence=[*besides, *sources], content=content[0], institution_name=None, is_final=False,
        series_description=f"medssl {of}", **_identity(sources, model, "SR", 2),
    )  # fmt: skip


def _identity(sources: list, model: str, kind: str, place: int) -> dict:
    from medssl import __version__

    return {
        "series_instance_uid": _uid(sources, model, kind, "series"),
        "series_number": SERIES_NUMBER + place, "instance_number": 1,
        "sop_instance_uid": _uid(sources, model, kind, "instance"),
        "software_versions": __version__, **MAKER,
    }  # fmt: skip


def _algorithm(model: str):
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name="medssl", family=codes.DCM.ArtificialIntelligence, version=model[:12]
    )


def _uid(sources: list, *words: str) -> str:
    from pydicom.uid import generate_uid

    first = sources[0]
    return generate_uid(entropy_srcs=[first.SeriesInstanceUID, first.SOPInstanceUID, *words])


def _complete(source, name: str, needed: Sequence[str]):
    """The dataset with what may be empty there. Raises UserError DICOM without what it is known by."""
    for keyword in EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    for keyword in ("SOPClassUID", "SOPInstanceUID"):  # the file's own head says them again
        if not source.get(keyword):
            setattr(source, keyword, source.file_meta.get(f"MediaStorage{keyword}", ""))
    if lacking := [keyword for keyword in needed if not source.get(keyword)]:
        raise UserError(
            "DICOM", name, f"its series has no {', '.join(lacking)}, by which an archive knows it",
            "take the NIfTI file, or predict the series as the archive holds it",
        )  # fmt: skip
    return source
