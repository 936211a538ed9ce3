"""A config in words: the keys that a help text lists, and the words that ask for it again."""

import inspect
import json
import os
import shlex
import types
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medssl.command_line import load, of
from medssl.config import Config, Keys, Part, checked_parts, flat
from medssl.errors import UserError
from medssl.privacy import scrub
from medssl.shipped import presets

# Folders that say nothing without the one above.
PARTS_OF_A_RUN = ("evaluation", "model")


def describe(
    config: type[BaseModel], prefix: str = "", values: dict | None = None
) -> list[tuple[str, str, str, str]]:
    """Every key as (dotted name, type, default, meaning); groups are opened up.

    `values`, a preset's say, stand in for the defaults.
    """
    rows, values = [], values or {}
    for name, field in config.model_fields.items():
        kind = field.annotation
        if inspect.isclass(kind) and issubclass(kind, Keys):
            rows += describe(kind, f"{prefix}{name}.", values.get(name))
            continue
        if name in values:
            given = values[name]
            default = plain(Part(**given) if kind is Part and isinstance(given, dict) else given)
        elif field.is_required():
            default = "required"
        else:
            default = plain(field.get_default(call_default_factory=True))
        told = type_name(kind) + bounds(field.metadata)
        rows.append((prefix + name, told, default, field.description or ""))
    return rows


def plain(value: Any) -> str:
    """A value as one would write it behind `key=`."""
    if isinstance(value, Part):
        return value.name or '""'
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(v, dict) for v in value)
    ):
        return json.dumps(value)  # which is YAML
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def type_name(kind: Any) -> str:
    """A type in words, for help texts."""
    if get_origin(kind) is typing.Annotated:
        inner, *more = get_args(kind)
        return type_name(inner) + bounds(more)
    if get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_name(k) for k in get_args(kind) if k is not type(None))
    if get_origin(kind) is typing.Literal:
        return "|".join(map(str, get_args(kind)))
    if get_origin(kind) in (list, tuple):
        inner = [k for k in get_args(kind) if k is not Ellipsis]
        return f"list of {type_name(inner[0])}" if inner else "list"
    if get_origin(kind) is dict or kind is dict:
        return "mapping"
    names = {
        str: "text",
        Path: "path",
        int: "int",
        float: "number",
        bool: "true/false",
        Part: "name",
        Any: "text",
    }
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def bounds(metadata: Sequence[Any]) -> str:
    """The least and the most that a number may be, as pydantic keeps them: " >= 1", " > 0, < 1", or ""."""
    ends = [end for m in metadata for end in (m.metadata if isinstance(m, FieldInfo) else [m])]
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    told = [
        f"{sign} {getattr(end, name)}"
        for name, sign in signs.items()
        for end in ends
        if getattr(end, name, None) is not None
    ]
    return f" {', '.join(told)}" if told else ""


def words(
    config: type[Config],
    values: dict[str, Any],
    base: dict[str, Any] | None = None,
    shared: bool = True,
    beside: Sequence[Path] = (),
) -> list[str]:
    """What to write behind a verb to get `values`, a resolved config: all that is not the default.

    base    values to differ from in place of the defaults, a preset's
    shared  give files and folders as `shareable` does, with what lies `beside` them
    """
    default = config.model_construct().model_dump(mode="json") if base is None else base
    asked = _keys(config, values)
    if shared:
        default, asked = (shareable(config, each, beside) for each in (default, asked))
    default = flat(default) | default
    told = {}
    for key, value in asked.items():
        told |= {key: value} if _whole(config, key, value) else flat({key: value})
    return [
        f"{key.removesuffix('.name')}={shlex.quote('' if value == [] else plain(value))}"
        for key, value in told.items()
        if key not in default or value != default[key]
    ]


def _whole(config: type[Config], key: str, value: Any) -> bool:
    """Whether it is a mapping to give in one piece: a word for each of its keys would make text of its
    numbers, and a key's own punctuation would be lost."""
    if get_origin(config.model_fields[key].annotation) is not dict:
        return False
    return any(
        not isinstance(leaf, str) or not name.replace("_", "").replace(".", "").isalnum()
        for name, leaf in flat({key: value}).items()
    )


def command(
    config: type[Config],
    verb: str,
    values: dict[str, Any],
    tables: dict[str, dict[str, str]] | None = None,
) -> tuple[str, list[str]] | None:
    """The preset, "" for none, and the fewest words behind it that give a resolved config again; None
    where no words do, as for a config of another version. `out` is left out.
    """
    asked = {key: value for key, value in _keys(config, values).items() if key != "out"}
    found = []
    for preset in ["", *presets(verb).get(verb, [])]:
        base = of(config, verb, preset)
        with suppress(UserError):  # the defaults alone may lack options that must be given
            base = checked_parts(base, tables or {})
        found.append((preset, words(config, asked, base.model_dump(mode="json"), shared=False)))
    for preset, said in sorted(found, key=lambda each: len(each[1])):
        try:
            again = load(config, verb, [*filter(None, [preset]), *map(_unquoted, said)], tables)
        except UserError:
            continue  # it has keys that this version does not take, or not with this preset
        again = checked_parts(again, tables or {}).model_dump(mode="json")
        if flat({**again, "out": None}) == flat({**asked, "out": None}):
            return preset, said
    return None


def script(verb: str, config: Config) -> list[str]:
    """Shell lines that write a config to a file, folders by as little as tells them apart, and start the
    verb from it: for configs whose keys no words can be, such as arms by name."""
    beside = paths_of(type(config), config.model_dump(mode="json"))
    values = config.model_dump(mode="json", exclude_defaults=True)
    values = shareable(type(config), values, beside)
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    file = f"{verb}.yaml"
    return [f"cat > {file} <<'KEYS'", text.rstrip(), "KEYS", f"medssl {verb} {file}"]


def _unquoted(word: str) -> str:
    return "".join(shlex.split(word))


def _keys(config: type[Config], values: dict[str, Any]) -> dict[str, Any]:
    """Without what a stage noted beside its config."""
    return {key: value for key, value in values.items() if key in config.model_fields}


def shareable(
    config: type[Config], values: dict[str, Any], beside: Sequence[Path] = ()
) -> dict[str, Any]:
    """A resolved config whose files and folders are given by their last name, or by as much more as tells
    them apart from others `beside` them.

    Whole paths may tell of people and places; they stay in the run's own config.json.
    """
    return _walked(config, values, lambda path: scrub(_told(path, beside)))


def paths_of(config: type[Config], values: dict[str, Any]) -> list[Path]:
    """The files and folders that a resolved config names."""
    found: list[Path] = []
    _walked(config, values, found.append)
    return found


def _told(path: Path, beside: Sequence[Path]) -> str:
    """As few of its last parts as no other path ends in."""
    n = 2 if path.name in PARTS_OF_A_RUN else 1
    others = [other.parts for other in beside if other != path]
    while n < len(path.parts) and any(other[-n:] == path.parts[-n:] for other in others):
        n += 1
    return Path(*path.parts[-n:]).as_posix()


def _walked(
    config: type[Config], values: dict[str, Any], name: Callable[[Path], Any]
) -> dict[str, Any]:
    """A config with every file and folder replaced by what `name` makes of it."""
    fields = {
        name for name, field in config.model_fields.items()
        if Path in (field.annotation, *get_args(field.annotation))
    }  # fmt: skip

    def walk(value: Any, is_path: bool) -> Any:
        if isinstance(value, dict):
            return {k: walk(v, False) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v, is_path) for v in value]
        if isinstance(value, Path):  # an option of a part
            return walk(str(value), True)
        is_path = isinstance(value, str) and (is_path or os.path.isabs(value))
        if not is_path or not Path(value).name:
            return scrub(value) if isinstance(value, str) else value
        return name(Path(value))

    return {key: walk(value, key in fields) for key, value in values.items()}
