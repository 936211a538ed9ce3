"""Look for what could tell who a patient is, before anything is passed on.

Every finding is listed by file, kind and place, without repeating it: paths, dates, UIDs, person
names and addresses in text, tables, pages and cards; text that headers of pictures, NIfTI and
weights hide; and, with `words=`, known names in any file, also as UTF-16, Latin-1 or base64 and inside
compressed streams. Leaves with exit status 2 when there is one.

Formats that medssl does not share, such as DICOM, MetaImage and NRRD, and links are findings, too:
they are not looked into.

With `out=` a copy is written that holds only what is meant to be shared (no config.json, manifest,
store.json, private/, archive/, checkpoints/, read/ or jobs/), cleaned, and the copy is looked through
instead.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd
from pydantic import Field

from medssl.config import Config as Base
from medssl.data.cleaning import clean
from medssl.data.disguises import Words
from medssl.data.traces import is_known, traces
from medssl.errors import UserError
from medssl.privacy import LOCAL, findings, printable, scrub
from medssl.progress import say, track

SHOWN = 50


class Config(Base):
    positional: ClassVar = ("folder",)
    examples: ClassVar = (
        "medssl scrub runs/organs/evaluation check=true words=names.txt",
        "medssl scrub runs/organs out=to_share",
    )
    folder: Path = Field(description="any folder that medssl wrote")
    check: bool = Field(False, description="only look, change nothing; also --check")
    out: Path | None = Field(None, description="folder for a cleaned copy of what may be shared")
    words: Path | None = Field(None, description="file of known names or numbers, one a line")


class Finding(NamedTuple):
    """`file` relative to the folder; `kind` a rule's name, `hidden text` or a word's disguise."""

    file: str
    kind: str
    place: str


def run(config: Config) -> Path | None:
    """Raises UserError PHI if anything is found in the folder, or in the cleaned copy."""
    if not config.folder.is_dir():
        raise UserError("SCRUB", config.folder, "is no folder", "give a folder that medssl wrote")
    if config.check == (config.out is not None):
        cause = "both check=true and out= are given" if config.check else "neither is given"
        raise UserError("CONFIG", "check, out", cause, "look with check=true, or clean with out=")
    words = _words(config.words)
    looked_at = config.folder
    if config.out:
        _copy(config.folder, config.out, words)
        looked_at = config.out
    found = list(search(looked_at, words))
    for finding in found[:SHOWN]:
        local = " (stays local)" if is_local(Path(finding.file)) else ""
        print(printable(f"{finding.file}{local}: {finding.kind}, {finding.place}"))
    if len(found) > SHOWN:
        kinds = ", ".join(f"{kind} {n}" for kind, n in Counter(f.kind for f in found).items())
        print(f"... and {len(found) - SHOWN} more; of all: {kinds}")
    if found:
        files = len({f.file for f in found})
        fix = "do not pass these files on" if config.out else "pass on a copy made with out="
        raise UserError("PHI", looked_at, f"{len(found)} findings in {files} files", fix)
    say("nothing found that could tell who a patient is")
    for file, columns in _own_words(looked_at):
        say(f"{file}: the words of {columns} come from your own tables; look at them yourself")
    return config.out


def search(folder: Path, words: set[str] = frozenset()) -> Iterator[Finding]:
    """Findings in the names and the content of every file below a folder, in name order."""
    known = Words(words) if words else None
    for path in track(_files(folder), "scrub", unit="files"):
        file = path.relative_to(folder).as_posix()
        shown = scrub(file, words, but="file")
        if shown != file:
            yield Finding(shown, "name", "of the file or its folder")
        for place, text, kind in traces(path):
            if kind:
                yield Finding(shown, kind, place)
            else:
                for _, _, rule in findings(text):
                    yield Finding(shown, rule, scrub(place, words))
        if known and not path.is_symlink():
            hits = {(how, at) for _, how, at in known.find(path.read_bytes())}
            hits |= {(how, place) for place, text, _ in _packed(path)
                     for _, how, _ in known.find(text.encode())}  # fmt: skip
            for how, at in sorted(hits, key=str):
                place = at if isinstance(at, str) else f"byte {at}"
                yield Finding(shown, f"known word as {how}", scrub(place, words))


def _own_words(folder: Path) -> Iterator[tuple[str, str]]:
    """Label columns with text, of which no rule knows whether a class or a person is called so."""
    for path in sorted(folder.rglob("items.parquet")):
        items = pd.read_parquet(path)
        labels = items.filter(regex="^label_").select_dtypes(["str", "object"])
        if len(labels.columns):
            counts = (f"{c} ({labels[c].replace('', None).nunique()} values)" for c in labels)
            yield scrub(path.relative_to(folder).as_posix(), but="file"), ", ".join(counts)


def is_local(path: Path) -> bool:
    """Whether a file, by its path inside a folder, is not meant to be shared."""
    return not LOCAL.isdisjoint(path.parts)


def _packed(path: Path):
    """Parquet packs its pages in ways of its own: what is in it is searched as text."""
    return traces(path) if path.suffix == ".parquet" else ()


def _words(path: Path | None) -> set[str]:
    if path is None:
        return set()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("WORDS", path, "cannot be read", "give a UTF-8 text file") from error
    if words := {line.strip() for line in lines if line.strip()}:
        return words
    raise UserError("WORDS", path, "holds no word", "write one name a line")


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_symlink() or p.is_file())


def _copy(source: Path, out: Path, words: set[str]) -> None:
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError("CONFIG", f"out={out}", "lies inside the folder", "choose one elsewhere")
    if out.exists() and any(out.iterdir()):
        raise UserError("EXISTS", out, "holds files already", "give an empty folder as out=")
    left_out = unknown = 0
    for path in track(_files(source), "clean", unit="files"):
        name = path.relative_to(source)
        if is_local(name):
            left_out += 1
            continue
        if not is_known(path):
            unknown += 1
            continue
        target = out / Path(*(scrub(part, words, but="file") for part in name.parts))
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            cause = f"two files would be called {target.name} there"
            raise UserError("EXISTS", out, cause, "rename one of them")
        clean(path, target, words)
    say(f"left out {left_out} files that are not meant to be shared")
    if unknown:
        say(f"left out {unknown} links and files of formats that cannot be cleaned, such as DICOM")
