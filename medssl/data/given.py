"""Whether the folders that a stage is given to read are there, told before anything heavy is loaded.

One check for all verbs, made where they all come in (`medssl.stages`): on the words of a command line,
and on the keys of a call. A folder that is there and holds the wrong thing is told by who reads it.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medssl.errors import UserError
from medssl.shipped import presets

# The keys of each verb that name a folder which must be there.
READS = {
    "pretrain": ("store", "start"),
    "finetune": ("store", "backbone"),
    "probe": ("run", "store"),
    "embed": ("run", "store"),
    "evaluate": ("run", "store"),
    "predict": ("run",),
    "export": ("run",),
    "reduce": ("store", "model"),
    "study": ("store", "backbones"),
    "import": ("store",),
}
# Verbs whose first word without a key is the first of these.
BARE = ("probe", "embed", "evaluate", "predict", "export", "reduce")
OF_STORES = ("STORE", "give the folder that `medssl prepare` wrote")
OF_RUNS = (
    "CHECKPOINT",
    "give the folder of a run or a model; `medssl runs` lists those that there are",
)


def check_words(verb: str, words: list[str]) -> None:
    """Raise UserError for the first folder on a command line that must be there and is not."""
    if verb == "plan":
        place = next((i for i, word in enumerate(words) if word in READS), None)
        if place is not None:
            check_words(words[place], words[place + 1 :])
        return
    for key, text in _named(verb, words):
        if text.lower() not in ("none", "null", "") and text[0] not in "[{":
            _check(key, text.split(",") if key == "backbones" else [text])


def check_values(verb: str, values: dict[str, Any]) -> None:
    """The same for the keys of a call."""
    for key in READS.get(verb, ()):
        given = values.get(key)
        _check(key, [p for p in (given if isinstance(given, list) else [given]) if p])


def no_such_folder(folder: Path) -> str:
    """That a folder is not there, in words, with one that is called almost so."""
    folder = Path(folder)
    missing = next(p for p in [*reversed(folder.parents), folder] if not p.exists())
    rest = folder.relative_to(missing)
    siblings = missing.parent.iterdir() if missing.parent.is_dir() else ()
    near = difflib.get_close_matches(missing.name, [p.name for p in siblings if p.is_dir()], n=1)
    if not near:
        return "there is no such folder"
    meant = missing.parent / near[0]
    meant = meant / rest if (meant / rest).exists() else meant
    return f"there is no such folder; did you mean {meant}?"


def _named(verb: str, words: list[str]) -> Iterator[tuple[str, str]]:
    """(key, folder as it was written) of the words that name one."""
    keys, known = READS.get(verb, ()), presets(verb).get(verb, [])
    bare = verb in BARE
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            if key in keys:
                yield key, value
        elif bare and not word.startswith("-") and not (known and "/" not in word):
            yield keys[0], word
            bare = False


def _check(key: str, folders: list[str | Path]) -> None:
    code, fix = OF_STORES if key == "store" else OF_RUNS
    for folder in folders:
        if not Path(folder).exists():
            raise UserError(code, folder, no_such_folder(Path(folder)), fix)
