"""Take a dataset of another tool over as a manifest, or pass a manifest on to another tool.

Formats: MONAI/Decathlon datalists, BIDS, nnU-Net v2 raw, nnssl and plain CSV. A manifest becomes a
folder of the format's own files, with the scans and masks beside them as links or copies under
their ids, and medssl.json with what the format cannot hold. A dataset becomes a manifest as `medssl
index` writes it: the headers of all files it names are read, and its ids, patients, splits, masks
and labels are attached. Scans that a format takes as they are go along byte for byte, with all that
their headers say: look with `medssl scrub` before a folder is passed on. Paths and links that lead
out of the dataset's folder are refused unless outside=true allows them.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medssl.config import Config as Base
from medssl.config import Share
from medssl.data.delimited import read_table
from medssl.data.exchange import FORMATS, format_of, recognised
from medssl.data.exchange.entry import Files, Reading, Writing
from medssl.data.exchange.placing import REFUSED
from medssl.data.index import IDS
from medssl.data.manifest import NAME, Manifest
from medssl.errors import UserError
from medssl.progress import say
from medssl.stages.index import report

Format = Literal["auto", "manifest", "nnssl", "nnunet", "datalist", "bids", "csv"]


class Config(Base):
    positional: ClassVar = ("source",)
    examples: ClassVar = (
        "medssl convert manifest to=nnunet out=Dataset101_Liver classes.1=liver",
        "medssl convert Dataset101_Liver out=manifest",
        "medssl convert datalist.json scans=SCANS/ modality=CT out=manifest",
    )
    source: Path = Field(description="folder of a manifest or a dataset, or the dataset's own file")
    out: Path = Field(description="folder for the manifest, or a new folder for the dataset")
    format: Format = Field("auto", description="what source is; auto: told by its files")
    to: Literal["manifest", "nnssl", "nnunet", "datalist", "bids", "csv"] = Field(
        "manifest", description="what it becomes"
    )
    files: Files = Field(
        "link", description="scans in a dataset are links to where they lie, or copies"
    )
    classes: dict[int, str] = Field({}, description="names of mask labels for the dataset")
    contrast: str = Field(
        "", description="what MR scans show, for names in BIDS (T1w, T2w, FLAIR)",
        pattern="[A-Za-z0-9]*",
    )  # fmt: skip
    scans: Path | None = Field(
        None, description="folder that a datalist's, nnssl's or CSV's paths are relative to"
    )
    outside: bool = Field(
        False, description="follow paths and links that lead out of the dataset's folder"
    )
    ids: IDS = Field(
        "auto", description="what scans of a dataset are called: its names, pseudonyms (keyed "
        "hashes) or auto (a name only where it is neutral words and short numbers)",
    )  # fmt: skip
    modality: str = Field("", description="modality of scans that the source gives none")
    max_missing: Annotated[
        Share, Field(description="share of a dataset's scans that may be gone")
    ] = 0.0
    workers: int = Field(0, description="processes that read headers side by side; 0: none", ge=0)


def run(config: Config) -> Path:
    """Write the manifest's or the dataset's folder and return it; the source is only read.

    Raises UserError for a dataset that contradicts itself or names files that are not there.
    """
    manifest = _read(config)
    if config.to == "manifest":
        manifest.write(config.out)
        print(report(manifest))
        return config.out
    if config.contrast and (config.to != "bids" or "MR" not in set(manifest.used["modality"])):
        cause = "names MR scans in BIDS; " + (
            f"to={config.to}" * (config.to != "bids") or "none is MR"
        )
        fix = (
            "take it out" if config.to != "bids" else "say modality=MR where no scan tells its own"
        )
        raise UserError("CONFIG", f"contrast={config.contrast}", cause, fix)
    how = Writing(config.files, config.classes, config.contrast)
    format_of(config.to).write(manifest, config.out, how)
    refused, unfit = len(manifest.refused), config.out / REFUSED
    left = len(read_table(unfit)) if unfit.exists() else 0
    say(f"passed on {len(manifest.used) - left} of {len(manifest.used)} used scans as {config.to}"
        + f"; {refused} refused entries of the manifest left out" * bool(refused))  # fmt: skip
    if config.files == "link":
        say("links say where the scans lie: pass the folder on as made with files=copy")
    else:
        say("headers of copied scans may name patients: look with `medssl scrub` before passing on")
    return config.out


def _completed(manifest: Manifest, modality: str) -> Manifest:
    table = manifest.table
    unknown = (table["verdict"] == "used") & (table["modality"] == "")
    table.loc[unknown, "modality"] = modality.upper()
    return manifest


def _read(config: Config) -> Manifest:
    source = config.source
    kind = config.format
    if kind == "auto":
        its_own = source.name == NAME or (source / NAME).is_file()
        kind = "manifest" if its_own else recognised(source)
    if kind == "manifest":
        if config.to == "manifest":
            cause = "is a manifest already"
            raise UserError("CONFIG", source, cause, f"give to= one of {', '.join(FORMATS)}")
        return _completed(Manifest.read(source), config.modality)
    how = Reading(
        config.scans, config.outside, config.modality, config.ids, config.max_missing,
        config.workers,
    )  # fmt: skip
    return format_of(kind).read(source, how)
