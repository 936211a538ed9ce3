"""A config in words: the keys that a help text lists, and the words that ask for it again."""

import inspect
import shlex
import types
import typing
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from medssl.config import Config, Keys, Part, flat


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
        rows.append((prefix + name, type_name(kind), default, field.description or ""))
    return rows


def plain(value: Any) -> str:
    """A value as one would write it behind `key=`."""
    if isinstance(value, Part):
        return value.name or '""'
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def type_name(kind: Any) -> str:
    """A type in words, for help texts."""
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


def words(config: type[Config], values: dict[str, Any]) -> list[str]:
    """What to write behind a verb to get `values`, a resolved config: all that is not the default.

    Folders are given by their last name, since whole paths may tell of people and places.
    """
    default = flat(config.model_construct().model_dump(mode="json"))
    paths = {
        n for n, f in config.model_fields.items() if Path in (f.annotation, *get_args(f.annotation))
    }
    said = []
    for key, value in flat(values).items():
        if value != default.get(key):
            if key in paths and value:
                value = (
                    [Path(v).name for v in value] if isinstance(value, list) else Path(value).name
                )
            value = plain(value)
            said.append(f"{key.removesuffix('.name')}={shlex.quote(value)}")
    return said
