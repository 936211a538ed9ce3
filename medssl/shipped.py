"""Presets and pipelines that come with medssl, found in the repository or inside the wheel."""

import difflib
from pathlib import Path
from typing import Literal

from medssl.errors import UserError

PACKAGE = Path(__file__).parent


def folder(kind: Literal["configs", "pipelines"]) -> Path:
    """Where presets or pipelines lie. Raises UserError INSTALL when the installation lacks them."""
    for parent in (PACKAGE / "_shipped", PACKAGE.parent):
        if (parent / kind).is_dir():
            return parent / kind
    raise UserError(
        "INSTALL", PACKAGE, f"{kind}/ is missing from the installation", "install medssl again"
    )


def presets(verb: str | None = None) -> dict[str, list[str]]:
    """Names of presets by verb, of one verb or of all that have some."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder("configs").glob("*/*.yaml")):
        found.setdefault(path.parent.name, []).append(path.stem)
    return {v: names for v, names in found.items() if verb in (None, v)}


def preset(verb: str, name: str) -> Path:
    """The YAML file of a preset, by name or by the path of an existing .yaml file.

    Raises UserError CONFIG with the nearest name when there is none.
    """
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise UserError(
            "CONFIG", name, f"there is no such file{_hint(Path(name).stem, verb)}",
            f"give a file that exists, or the name of a preset: {_choices(verb)}",
        )  # fmt: skip
    names = presets(verb).get(verb, [])
    if name in names:
        return folder("configs") / verb / f"{name}.yaml"
    if not names:
        raise UserError(
            "CONFIG", f"medssl {verb} {name}", f"{verb} has no presets, so this is a word too many",
            f"write key=value; medssl {verb} --help lists the keys",
        )  # fmt: skip
    raise UserError(
        "CONFIG", f"medssl {verb} {name}", f"there is no such preset{_hint(name, verb)}",
        f"choose one of {_choices(verb)}, or give the path of a .yaml file",
    )  # fmt: skip


def pipelines() -> list[str]:
    """Names of the pipelines."""
    return sorted(path.stem for path in folder("pipelines").glob("[!_]*.py"))


def pipeline(name: str) -> Path:
    """The Python file of a shipped pipeline. Raises UserError CONFIG with the nearest name."""
    names = pipelines()
    if name in names:
        return folder("pipelines") / f"{name}.py"
    raise UserError(
        "CONFIG", name, f"there is no such pipeline{_nearest(name, names)}",
        f"choose one of {', '.join(names)}, or give the path of a .py file",
    )  # fmt: skip


def _choices(verb: str) -> str:
    return ", ".join(presets(verb).get(verb, [])) or "none"


def _hint(name: str, verb: str) -> str:
    names = presets(verb).get(verb, [])
    elsewhere = [v for v, found in presets().items() if v != verb and name in found]
    return f" ({name} belongs to {elsewhere[0]})" if elsewhere else _nearest(name, names)


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f" (nearest: {', '.join(near)})" if near else ""
