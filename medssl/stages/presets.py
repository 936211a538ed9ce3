"""List the shipped presets and pipelines, each with its first line.

A preset is a YAML file that holds what differs from the defaults; `medssl copy` gives you one to
edit. Pipelines are whole runs, started by `medssl run`.
"""

import ast
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medssl import shipped
from medssl.config import Config as Base
from medssl.errors import UserError


class Config(Base):
    positional: ClassVar = ("verb",)
    examples: ClassVar = ("medssl presets", "medssl presets pretrain", "medssl presets run")
    verb: str = Field("", description="list this verb only; run lists the pipelines")


def run(config: Config) -> None:
    rows = [
        (verb, name, description(shipped.preset(verb, name)))
        for verb, names in shipped.presets().items()
        for name in names
    ]
    rows += [("run", name, description(shipped.pipeline(name))) for name in shipped.pipelines()]
    verbs = list(dict.fromkeys(verb for verb, *_ in rows))
    if config.verb and config.verb not in verbs:
        raise UserError(
            "CONFIG", f"verb={config.verb}", "has no presets", f"choose one of {', '.join(verbs)}"
        )
    rows = [row for row in rows if config.verb in ("", row[0])]
    wide = [max(len(row[i]) for row in rows) for i in range(2)]
    for verb, name, text in rows:
        print(f"{verb.ljust(wide[0])}  {name.ljust(wide[1])}  {text}".rstrip())


def description(path: Path) -> str:
    """First comment line of a preset, first docstring line of a pipeline; "" if it has none."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    first = text.partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
