"""Where a stage may write: not among scans or other files, not in a store, nor over what another verb made.

One check for all verbs, made where they all come in (`medssl.stages`), before anything is read or
written. Scans are found through whatever a stage is given: the folder itself, a list, a manifest, a
store, or a run of one.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from medssl.data.manifest import NAME, Manifest
from medssl.data.paths import scan_list
from medssl.data.store import Store
from medssl.errors import UserError

KEYS = ("scans", "source", "manifest", "store", "run", "runs")  # that lead to scans
# What marks a folder, what it is, and the verbs that may write to it again.
MADE = {
    "store.json": ("a store", ("prepare",)),
    "model/card.json": ("a run", ("pretrain", "finetune", "scrub")),  # scrub copies runs
    "ledger.json": ("imported weights", ("import", "scrub")),
}
ELSEWHERE = "choose a folder elsewhere"
# Verbs whose folder is theirs alone, and what is there once they have begun beside a config.json that
# names a store; else it must be empty.
RUN = ("model/card.json", "checkpoints/step-*/complete.json")
ALONE = {"pretrain": RUN, "finetune": RUN, "study": ()}


def check_out(verb: str, config: object) -> None:
    """Raise UserError CONFIG if the config's `out` lies where its verb may not write."""
    out = config.out
    real = Path(out).resolve()
    for marker, (what, verbs) in MADE.items():
        if (real / marker).exists() and verb not in verbs:
            cause = f"is the folder of {what}, which `medssl {verb}` does not write to"
            raise UserError("CONFIG", f"out={out}", cause, ELSEWHERE)
    for folder in real.parents:
        if (folder / "store.json").is_file():
            cause = f"lies inside the store {folder.name}, where only `medssl prepare` writes"
            raise UserError("CONFIG", f"out={out}", cause, ELSEWHERE)
    for key in KEYS:
        given = getattr(config, key, None)
        for path in given if isinstance(given, list) else [given]:
            if not isinstance(path, Path):
                continue
            for scans in scan_list(path) if key == "scans" else scans_behind(path, key == "source"):
                refuse_inside(out, scans)
    if verb in ALONE:
        refuse_full(verb, out, ALONE[verb])


def scans_behind(path: Path, dataset: bool = False) -> Iterator[Path]:
    """Where the scans lie of a manifest, a store or a run; if none of these, of a `dataset`: there itself.
    Nothing for what is not there, such as the manifest of a store that came from elsewhere."""
    if (path / "store.json").is_file():
        yield from scans_behind(Store.manifest_of(path))
    elif path.name == NAME or (path / NAME).is_file():
        root = Manifest.root_of(path)
        # A manifest among its scans is of a single file, whose folder may be worked in.
        if not path.resolve().is_relative_to(root):
            yield root
    elif store := _store_of(path / "config.json"):
        yield from scans_behind(Path(store))
    elif dataset and path.exists():
        yield path


def refuse_inside(out: Path, scans: Path) -> None:
    """Raise UserError if `out` is `scans`, lies inside it, or is the folder of a single scan."""
    real, source = Path(out).resolve(), Path(scans).resolve()
    if real.is_relative_to(source) if source.is_dir() else real == source.parent:
        cause = f"lies among the scans {scans}, which are never written to"
        raise UserError("CONFIG", f"out={out}", cause, ELSEWHERE)


def refuse_full(verb: str, out: Path, marks: tuple[str, ...]) -> None:
    """Raise UserError if `out` is a file, or a folder of other things than what the verb left there.

    Hidden files do not count: some systems put them anywhere.
    """
    real, fix = Path(out).resolve(), "choose a new or an empty folder, e.g. out=runs/new"
    if real.is_file():
        raise UserError("CONFIG", f"out={out}", "is a file", fix)
    there = real.iterdir() if real.is_dir() else ()
    if all(path.name.startswith(".") for path in there):
        return
    if not _store_of(real / "config.json") and not any(any(real.glob(mark)) for mark in marks):
        cause = f"holds files already, and nothing that `medssl {verb}` could go on with"
        raise UserError("CONFIG", f"out={out}", cause, fix)


def _store_of(config: Path) -> str | None:
    """The store that a run's config.json names; a damaged one is told by the stage that reads it."""
    try:
        return json.loads(config.read_text()).get("store")
    except (OSError, ValueError, AttributeError):
        return None
