"""dataset.json of the Medical Segmentation Decathlon, as MONAI's datalists extend it.

Lists of {"image", "label", ...} under "training", "validation" and "test"; scans of no split are
under "unassigned". Paths are relative to the file's folder; a series is a list of its files.
"""

import json
import os
from pathlib import Path

from medssl.data.exchange.scans import Options, Scan, plain_stem
from medssl.data.files import write_atomically
from medssl.errors import UserError, one_line

SPLITS = {
    "training": "train", "train": "train", "validation": "val", "val": "val", "test": "test",
    "testing": "test", "unassigned": "",
}  # fmt: skip
LIST = {"train": "training", "val": "validation", "test": "test", "": "unassigned"}


def recognise(source: Path) -> bool:
    if not source.is_file() or source.suffix.lower() != ".json":
        return False
    content = load(source)
    return any(isinstance(content.get(key), list) for key in SPLITS)


def write(scans: list[Scan], out: Path, options: Options) -> Path:
    """`out` is the JSON; scans and masks stay where they are."""
    top = os.path.realpath(out.parent)

    def place(file: Path) -> str:
        return os.path.relpath(file, top).replace(os.sep, "/")

    content = {"name": options.name, "tensorImageSize": "3D", "modality": modalities(scans)}
    lists = {name: [] for name in LIST.values()}
    for scan in scans:
        files = [place(file) for file in scan.files]
        item = {"image": files if len(files) > 1 else files[0]}
        if scan.mask:
            item["label"] = place(scan.mask)
        about = {name: text for name, text in scan.about.items() if name != "split"}
        lists[LIST[scan.split]].append({**item, **about})
    content["numTraining"], content["numTest"] = len(lists["training"]), len(lists["test"])
    filled = {name: items for name, items in lists.items() if items or name == "training"}
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**content, **filled}, indent=1)
    write_atomically(out, lambda path: path.write_text(text), private=True)
    return out


def read(source: Path) -> tuple[list[Scan], Path]:
    """Scans of all lists; a label that is no path is a class, other scalars are labels too."""
    content, scans = load(source), []
    for key, split in SPLITS.items():
        items = content.get(key, [])
        if not isinstance(items, list):
            raise UserError("EXCHANGE", source, f"{key} is no list", "mend the file")
        for number, item in enumerate(items):
            scans.append(_scan(item, split, source, f"{key}[{number}]"))
    if len(content.get("modality") or {}) == 1:
        for scan in scans:
            scan.modality = scan.modality or word(next(iter(content["modality"].values())))
    return scans, source.parent


def _scan(item: object, split: str, source: Path, where: str) -> Scan:
    item = {"image": item} if isinstance(item, str) else item
    files = item.get("image") if isinstance(item, dict) else None
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, list) or not files or not all(isinstance(f, str) and f for f in files):
        cause = f"{where} names no image (found {item!r:.80})"
        raise UserError("EXCHANGE", source, cause, 'write {"image": path}')
    scan = Scan(plain_stem(Path(files[0])), [Path(file) for file in files], split=split)
    label = item.get("label")
    if isinstance(label, str) and (Path(label).suffix or set(label) & {"/", "\\"}):
        scan.mask = Path(label)
    elif label is not None:
        scan.labels["label_class"] = str(label)
    scan.tell({key: value for key, value in item.items() if key not in ("label", "split")})
    for key, value in item.items():  # MONAI's own, such as fold
        if key != "label" and isinstance(value, int | float) and not key.startswith("label_"):
            scan.labels[f"label_{key}"] = str(value)
    return scan


def load(source: Path) -> dict:
    """A JSON object. Raises UserError EXCHANGE."""
    try:
        content = json.loads(source.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        cause = f"is no readable JSON ({one_line(error)})"
        raise UserError("EXCHANGE", source, cause, "mend or fetch it again") from error
    if not isinstance(content, dict):
        raise UserError("EXCHANGE", source, "holds no JSON object", "give a dataset's JSON")
    return content


def modalities(scans: list[Scan]) -> dict[str, str]:
    """Decathlon's channels: one, of the modality that all scans share."""
    names = {scan.modality for scan in scans}
    return {"0": names.pop() if len(names) == 1 else "mixed"}


def word(name: object) -> str:
    """DICOM's word for a modality that others write MRI, T1w, FLAIR or CT."""
    upper = str(name).upper()
    if upper in ("CT", "PT", "MR", "DX", "CR", "MG", "US", "NM"):
        return upper
    if upper.startswith(("MR", "T1", "T2", "FLAIR", "ADC", "DWI", "PD")):
        return "MR"
    return {"PET": "PT", "XRAY": "DX", "X-RAY": "DX"}.get(upper, "")
