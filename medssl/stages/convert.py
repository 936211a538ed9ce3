"""Turn a manifest into the dataset of another tool, or such a dataset into a manifest.

Into csv or datalist (MONAI, Decathlon): `out` is a file that lists scans where they lie. Into nnunet,
bids or nnssl: `out` is a folder that gets copies, converted where the tool does not read the format.
Patients are called by their salted ids, but copies hold what text their headers hold: keep them in
the building. From any of them to=manifest: the format is told by the
content, headers are read as `medssl index` does, and all files must lie in `root`.
"""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from medssl.config import Config as Base
from medssl.data import splits
from medssl.data.exchange import Options, read, recognise, write
from medssl.data.files import refuse_inside
from medssl.data.index import IDS
from medssl.data.manifest import NAME, Manifest
from medssl.errors import UserError
from medssl.progress import say


class Config(Base):
    positional: ClassVar = ("source",)
    examples: ClassVar = (
        "medssl convert manifest to=nnunet out=nnUNet_raw/Dataset101_Liver",
        "medssl convert Task09_Spleen/dataset.json out=manifest",
    )
    source: Path = Field(description="manifest folder, or the file or folder of a dataset")
    to: Literal["manifest", "csv", "datalist", "nnunet", "bids", "nnssl"] = Field(
        "manifest", description="what to write"
    )
    out: Path = Field(description="file (csv, datalist) or folder to write")
    root: Path | None = Field(
        None, description="folder in which all files of a dataset lie; by default the dataset's own"
    )
    ids: IDS = Field("auto", description="what scans of a dataset are called, as in `medssl index`")
    name: str = Field("scans", description="the dataset's name in its own description")
    suffix: str = Field("", description="BIDS: contrast of MR, such as T1w")


def run(config: Config) -> Path:
    """Raises UserError for what cannot be read or held; the source is never written to."""
    if config.to == "manifest":
        return _read(config)
    manifest = Manifest.read(config.source)
    if config.to in ("nnunet", "bids", "nnssl"):
        refuse_inside(config.out, manifest.root)
    out = write(manifest, config.to, config.out, Options(config.name, config.suffix))
    lost = len(manifest.refused)
    say(
        f"wrote {len(manifest.used)} scans" + (f"; {lost} refused entries stay behind" * bool(lost))
    )
    return out


def _read(config: Config) -> Path:
    if (config.source / NAME).is_file():
        fix = "give to=csv, datalist, nnunet, bids or nnssl"
        raise UserError("CONFIG", "to=manifest", f"{config.source} is a manifest already", fix)
    format = recognise(config.source)
    if config.source.is_dir():
        refuse_inside(config.out, config.source)
    manifest = read(config.source, format, config.root, config.ids)
    splits.check(manifest.table)
    manifest.write(config.out)
    say(f"{format}: {manifest.summary()}")
    return config.out
