"""Which code stands for a class in DICOM: a SNOMED concept of its name, or one of our own."""

import re
from types import MappingProxyType

SCHEME = "99MEDSSL"
ALIASES = {"Brainstem": "BrainStem", "Caudate": "CaudateNucleus", "Tumour": "Tumor"}
AMBIGUOUS = ("", "Ventricle", "Atrium", "Head", "Body", "Neck", "Tail", "Horn", "Cortex")
ABNORMAL = (
    "Lesion",
    "Tumor",
    "Nodule",
    "Mass",
    "Edema",
    "Cyst",
    "Neoplasm",
    "Necrosis",
    "Hemorrhage",
)
SIDES = re.compile(r"[\s_-]+(left|right|l|r)$|^(left|right)[\s_-]+", re.IGNORECASE)


def coded(name: str, codes: dict[str, str] = MappingProxyType({})):
    """(category, type) of a class, by `codes` ("SCT:10200004:Liver"), or the SNOMED concept of that name
    without its side, or else a code of our own, which says no more than the name."""
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes as known

    if name in codes:
        scheme, value, meaning = codes[name].split(":", 2)
        concept = CodedConcept(value, scheme, meaning)
        return known.SCT.AnatomicalStructure, concept
    words = re.findall(r"[A-Za-z0-9]+", SIDES.sub("", name.strip()))
    keyword = "".join(w[:1].upper() + w[1:] for w in words)
    keyword = ALIASES.get(keyword, keyword)
    concept = getattr(known.SCT, keyword, None) if keyword not in AMBIGUOUS else None
    if concept is None:
        value = re.sub(r"\W+", "_", name).strip("_")[:16] or "unnamed"
        return known.SCT.Tissue, CodedConcept(value, SCHEME, name[:64])
    if keyword in ABNORMAL:
        return known.SCT.MorphologicallyAbnormalStructure, concept
    return known.SCT.AnatomicalStructure, concept
