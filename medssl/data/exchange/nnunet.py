"""A raw dataset of nnU-Net v2: DatasetNNN_Name/ with imagesTr, labelsTr, imagesTs and dataset.json.

nnU-Net trains on every scan of imagesTr, so that scans without a mask go to imagesTs, as test scans
do. splits_final.json holds the one fold that the manifest's train and val make; copy it to the
preprocessed folder. `medssl` in dataset.json holds what nnU-Net has no field for.
"""

import json
import re
from pathlib import Path

from medssl.data.exchange import placing
from medssl.data.exchange.datalist import load, modalities, word
from medssl.data.exchange.scans import Options, Scan
from medssl.errors import UserError

NAME = re.compile(r"Dataset\d{3}_\w+")
CHANNEL = re.compile(r"(.+)_(\d{4})")


def recognise(source: Path) -> bool:
    listing = source / "dataset.json"
    return listing.is_file() and "channel_names" in load(listing)


def write(scans: list[Scan], out: Path, options: Options) -> Path:
    """Raises UserError EXCHANGE for a folder's name or labels that nnU-Net does not take."""
    if not NAME.fullmatch(out.name):
        cause = f"is called {out.name}, nnU-Net wants DatasetNNN_Name"
        raise UserError("EXCHANGE", f"out={out}", cause, "for example out=Dataset101_Liver")
    endings = {placing.kind(scan) for scan in scans}
    if len(endings) > 1:
        cause = "the manifest holds volumes and films, an nnU-Net dataset one kind of file"
        raise UserError("EXCHANGE", scans[0].manifest.root, cause, "index them apart")
    values = placing.label_values(scans)
    if values != list(range(len(values))):
        cause = f"the masks hold {values[:10]}, nnU-Net wants 0, 1, 2, ... without gaps"
        raise UserError("EXCHANGE", scans[0].manifest.root, cause, "number the labels anew")
    trained = [scan for scan in scans if scan.mask and scan.split != "test"]
    names = {"background": 0, **{f"label_{v}": v for v in values[1:]}}
    about = {
        "name": options.name, "channel_names": modalities(scans), "labels": names,
        "file_ending": endings.pop(),
    }  # fmt: skip
    with placing.whole(out) as folder:
        for name in ("imagesTr", "labelsTr"):
            (folder / name).mkdir()

        def one(scan: Scan) -> None:
            part = "Tr" if scan in trained else "Ts"
            image = folder / f"images{part}" / f"{scan.id}_0000"
            placing.place(scan, image, folder / f"labels{part}" / scan.id)

        kept = placing.place_all(scans, folder, one)
        trained = [scan for scan in trained if scan in kept]
        about["numTraining"] = len(trained)
        about["medssl"] = {scan.id: scan.about for scan in kept}
        fold = {part: [s.id for s in trained if s.split == part] for part in ("train", "val")}
        (folder / "dataset.json").write_text(json.dumps(about, indent=1))
        if all(fold.values()):
            (folder / "splits_final.json").write_text(json.dumps([fold], indent=1))
    return out


def read(source: Path) -> tuple[list[Scan], Path]:
    """One scan a channel; a case of several channels gives ids with the channel's number."""
    content = load(source / "dataset.json")
    ending, channels = content.get("file_ending"), content.get("channel_names")
    if not isinstance(ending, str) or not isinstance(channels, dict):
        cause = "lacks file_ending or channel_names"
        raise UserError("EXCHANGE", source / "dataset.json", cause, "convert it to nnU-Net v2")
    known, fold = content.get("medssl") or {}, _fold(source)
    scans = []
    for part, split in (("Tr", ""), ("Ts", "test")):
        for file in sorted((source / f"images{part}").glob("*")):
            parts = CHANNEL.fullmatch(file.name[: -len(ending)])
            if not file.name.endswith(ending) or not parts:
                cause = f"is not called CASE_0000{ending}"
                raise UserError("EXCHANGE", file, cause, "rename it or take it away")
            case, channel = parts.groups()
            id = case if len(channels) == 1 else f"{case}_{channel}"
            scan = Scan(id, [file.relative_to(source)], split=fold.get(case, split))
            mask = source / f"labels{part}" / f"{case}{ending}"
            scan.mask = mask.relative_to(source) if mask.is_file() else None
            if case in known:
                scan.split = ""
            scan.modality = word(channels.get(str(int(channel)), ""))
            scan.patient = case
            scan.tell(known.get(case, {}))
            scans.append(scan)
    return scans, source


def _fold(source: Path) -> dict[str, str]:
    """train or val of each case by the first fold, if one is given."""
    path = source / "splits_final.json"
    if not path.is_file():
        return {}
    try:
        first = json.loads(path.read_text())[0]
        return {case: part for part in ("train", "val") for case in first[part]}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        cause = "is no list of folds with train and val"
        raise UserError("EXCHANGE", path, cause, "mend it or take it away") from error
