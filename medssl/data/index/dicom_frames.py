"""The frames of a multi-frame file, each as the header that it would have as a file of its own.

Enhanced and Legacy Converted Enhanced images hold functional groups (PS3.3 C.7.6.16), shared by all
frames or one a frame; reconstructed NM images the place of the first slice and the order of the
others (C.8.4.8). Other objects of many frames, such as cine loops, have no place in space.
"""

import io
from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from medssl.data.index.dicom_slice import Header
from medssl.data.index.dicom_tags import Bounded, floats
from medssl.errors import UserError

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
DIMENSIONS, DETECTOR = "DimensionIndexSequence", "DetectorInformationSequence"
OF_WHOLE = ("PixelSpacing", "ImageType", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
            "NumberOfSlices")  # fmt: skip
READ = [
    SHARED, PER_FRAME, DIMENSIONS, DETECTOR, *OF_WHOLE, "SpecificCharacterSet",
    "FrameIncrementPointer", "SliceVector", "SpacingBetweenSlices",
]  # fmt: skip
# What is taken from each group, and what it is called in a file of one image.
GROUPS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {
        "RescaleSlope": "RescaleSlope", "RescaleIntercept": "RescaleIntercept",
    },
    "FrameContentSequence": {
        "StackID": "StackID", "TemporalPositionIndex": "TemporalPositionIndex",
        "FrameAcquisitionNumber": "AcquisitionNumber",
    },
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue"},
    "MRModifierSequence": {"InversionTimes": "InversionTime"},
    "MRTimingAndRelatedParametersSequence": {"FlipAngle": "FlipAngle"},
    "CardiacSynchronizationSequence": {
        "NominalPercentageOfCardiacPhase": "NominalPercentageOfCardiacPhase",
        "NominalCardiacTriggerDelayTime": "NominalCardiacTriggerDelayTime",
    },
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "PETFrameTypeSequence": {"FrameType": "ImageType"},
}  # fmt: skip
CONVERTED = ("UnassignedSharedConvertedAttributesSequence",
             "UnassignedPerFrameConvertedAttributesSequence")  # fmt: skip
OF_CONVERTED = (
    "EchoNumbers", "EchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TriggerTime",
    "TemporalPositionIdentifier", "ConvolutionKernel", "InversionTime", "FlipAngle", "KVP",
    "AcquisitionNumber", "ImageType",
)  # fmt: skip
OF_PLACE = {"ImagePositionPatient", "InStackPositionNumber", "StackID", "ImageOrientationPatient"}


def has_frames(header: Header) -> bool:
    """Whether a file is one of frames, be it a single one."""
    return header.frames != 1 or "Enhanced" in header.sop_class


def frames(header: Header) -> Iterator[tuple[int, pydicom.Dataset, dict[str, str]]]:
    """(number from 1, what its own header would hold, its other dimensions) of each frame.

    Raises UserError: MULTIFRAME if frames have no place, HEADER if their number is in doubt.
    """
    path = header.path
    options = {"specific_tags": READ, "stop_before_pixels": True}
    with Bounded(io.FileIO(str(path))) as stream:
        whole = pydicom.dcmread(stream, force=True, **options)
    groups = whole.get(PER_FRAME)
    if groups:
        if len(groups) != header.frames:
            cause = f"NumberOfFrames is {header.frames}, found the groups of {len(groups)}"
            raise UserError("HEADER", path, cause, "export it again")
        return _of_groups(whole, groups)
    if _is_volume(whole):
        return _of_slices(whole, header)
    cause = (
        f"{header.frames} frames of {header.sop_class or 'an unknown kind'}, without a place each"
    )
    raise UserError("MULTIFRAME", path, cause, "export one file a slice, or one frame as a film")


def _of_groups(whole: pydicom.Dataset, groups: pydicom.Sequence):
    top = pydicom.Dataset()
    for name in OF_WHOLE:
        _copy(whole, name, top)
    shared = whole.get(SHARED) or [pydicom.Dataset()]
    common = _view(top, shared[0])
    pointers = [item.get("DimensionIndexPointer", 0) for item in whole.get(DIMENSIONS) or []]
    names = [keyword_for_tag(pointer) for pointer in pointers]
    for number, group in enumerate(groups, 1):
        yield number, _view(common, group), _dimensions(group, names)


def _view(basis: pydicom.Dataset, group: pydicom.Dataset) -> pydicom.Dataset:
    """`basis` and what the functional groups of one frame, or of all frames, add to it."""
    view = pydicom.Dataset()
    view.update(basis)
    for sequence in CONVERTED:
        for item in group.get(sequence) or []:
            for name in OF_CONVERTED:
                _copy(item, name, view)
    for sequence, names in GROUPS.items():
        for item in group.get(sequence) or []:
            for name, single in names.items():
                _copy(item, name, view, single)
            for gradient in item.get("DiffusionGradientDirectionSequence") or []:
                _copy(gradient, "DiffusionGradientOrientation", view)
    return view


def _copy(source: pydicom.Dataset, name: str, target: pydicom.Dataset, single: str = "") -> None:
    if name not in source:
        return
    if single in ("", name):
        target[name] = source.get_item(name)
    else:
        setattr(target, single, source.get(name))


def _dimensions(group: pydicom.Dataset, names: list[str]) -> dict[str, str]:
    """The frame's place along each dimension that is none of space, by the dimension's number."""
    content = (group.get("FrameContentSequence") or [pydicom.Dataset()])[0]
    values = content.get("DimensionIndexValues")
    values = [values] if isinstance(values, int) else list(values or [])
    if len(values) != len(names):
        return {}
    found = enumerate(zip(names, values, strict=True), 1)
    return {f"dimension {k}": str(v) for k, (name, v) in found if name not in OF_PLACE}


def _is_volume(whole: pydicom.Dataset) -> bool:
    kinds, vector = whole.get("ImageType") or [], tag_for_keyword("SliceVector")
    return "RECON TOMO" in kinds and whole.get("FrameIncrementPointer") == vector


def _of_slices(whole: pydicom.Dataset, header: Header):
    detector = (whole.get(DETECTOR) or [pydicom.Dataset()])[0]
    position = floats(detector, "ImagePositionPatient", 3, header.path)
    axes = floats(detector, "ImageOrientationPatient", 6, header.path)
    step = floats(whole, "SpacingBetweenSlices", 1, header.path)
    order = whole.get("SliceVector") or []
    if position is None or axes is None or step is None or len(order) != header.frames:
        cause = f"{header.frames} slices without position, orientation, distance or order"
        raise UserError("MULTIFRAME", header.path, cause, "export it with geometry")
    normal = np.cross(axes[:3], axes[3:])
    for number, slice in enumerate(order, 1):
        view = pydicom.Dataset()
        for name in OF_WHOLE:
            _copy(whole, name, view)
        view.ImageOrientationPatient = axes
        at = position + (int(slice) - 1) * step[0] * normal
        view.ImagePositionPatient = [f"{x:.10g}" for x in at]
        yield number, view, {}
