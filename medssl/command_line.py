"""The config that words stand for: a preset, then `key=value`, which has the last word; checked before any
work. A pipeline's and a notebook's mappings become configs here too.
"""

from pathlib import Path
from typing import Any

import yaml

from medssl import yaml_file
from medssl.config import Config, Part, as_list, merge, of_default, validated, wants_list
from medssl.errors import UserError
from medssl.shipped import preset as find_preset
from medssl.shipped import presets
from medssl.yaml_file import read_yaml


def load(
    config: type[Config],
    verb: str,
    words: list[str],
    tables: dict[str, dict[str, str]] | None = None,
) -> Config:
    """The config that a command line stands for: defaults, then the preset, then `key=value`.

    Raises UserError naming all that is wrong, in the options of the parts of `tables` as well.
    """
    chosen, values = parse(config, verb, words)
    values = merge(config.beneath(values), values)
    errors = []
    try:
        found = validated(config, values)
    except UserError as error:
        errors.append(error)
    for key, table in (tables or {}).items():
        default = config.model_fields[key].default
        value = of_default(values.get(key, default), default)
        if isinstance(value, (str, dict, Part)):
            try:
                Part.model_validate(value).check(table, key)
            except UserError as error:
                errors.append(error)
    if not chosen and verb in presets() and any("is required" in e.cause for e in errors):
        fix = f"name a preset ({', '.join(presets()[verb])}), or give these keys"
        errors = [UserError(e.code, e.where, e.cause, fix) for e in errors]
    if len(errors) > 1:
        raise UserError(
            "CONFIG", ", ".join(e.where for e in errors), "; ".join(e.cause for e in errors),
            "; ".join(dict.fromkeys(e.fix for e in errors)),
        )  # fmt: skip
    if errors:
        raise errors[0]
    return found


def parse(config: type[Config], verb: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    """The preset that a command line names, if any, and the values given there and on the line."""
    chosen, overrides = "", {}
    free = list(config.positional)
    for place, word in enumerate(words):
        if config.rest and not free:
            overrides[config.rest] = list(words[place:])
            break
        word = _without_dashes(config, verb, word)
        key, equals, value = word.partition("=")
        if equals and key.replace("_", "").replace(".", "").replace("-", "").isalnum():
            field = config.model_fields.get(key)
            if not value and field and field.annotation in (Path, Path | None):
                raise UserError("CONFIG", f"{key}=", "is empty", "name a file or folder")
            _set(overrides, key.replace("-", "_").split("."), _parse(value))
        elif verb in presets() and not chosen and _names_preset(verb, word, bool(free)):
            chosen = word
        elif free and takes_many(config, free[0]):
            overrides[free[0]] = [*as_list(overrides.get(free[0], [])), *as_list(word)]
        elif free:
            overrides[free.pop(0)] = word
        else:
            raise UserError("CONFIG", word, "is one word too many", "write key=value; see --help")
    values = read_yaml(find_preset(verb, chosen)) if chosen else {}
    overrides = _handed_on(config, overrides)
    return chosen, merge(values, overrides)


def _without_dashes(config: type[Config], verb: str, word: str) -> str:
    """`--flag` as `flag=true`. Raises UserError for other words with dashes in front."""
    fields = config.model_fields
    for key in fields:
        if word == f"--{key}" and fields[key].annotation is bool:
            return f"{key}=true"
    if word.startswith("-"):
        raise UserError(
            "CONFIG", word, "options are written key=value, without dashes",
            f"try {word.lstrip('-').split('=')[0]}=...; medssl {verb} --help lists the keys",
        )  # fmt: skip
    return word


def takes_many(config: type[Config], name: str) -> bool:
    """Whether a positional key takes all words that are left."""
    last = name == config.positional[-1]
    return last and wants_list(config.model_fields[name].annotation)


def of(config: type[Config], verb: str, preset: str = "", values: dict | None = None) -> Config:
    """The config that a pipeline or a notebook asks for: defaults, preset, then `values`."""
    base, over = read_yaml(find_preset(verb, preset)) if preset else {}, {}
    for key, value in (values or {}).items():  # "fit.steps" as on the command line, or fit={...}
        _set(over, key.split("."), value)
    values = merge(base, _handed_on(config, over))
    return validated(config, merge(config.beneath(values), values))


def _handed_on(config: type[Config], values: dict) -> dict:
    """Keys that a stage hands on, such as a pipeline's own, under its key `overrides` if it has one."""
    if "overrides" not in config.model_fields:
        return values
    own = {k: v for k, v in values.items() if k in config.model_fields}
    extra = {k: v for k, v in values.items() if k not in config.model_fields}
    return {**own, "overrides": {**own.get("overrides", {}), **extra}}


def _names_preset(verb: str, word: str, may_be_positional: bool) -> bool:
    if word.endswith((".yaml", ".yml")) or word in presets()[verb]:
        return True
    looks_like_path = "/" in word or "\\" in word or Path(word).exists()
    return not (looks_like_path and may_be_positional)


def _parse(text: str) -> Any:
    """Lists, mappings and none; everything else stays text, which the key's own type converts."""
    if text.lower() in ("none", "null"):
        return None
    if text[:1] in ("[", "{"):
        try:
            return yaml_file.parse(text)
        except yaml.YAMLError:
            return text
    return text


def _set(values: dict, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = values.setdefault(key, {})
        if isinstance(inner, str):
            inner = values[key] = {"name": inner}
        if not isinstance(inner, dict):
            cause = f"{key} is {inner}, which has no keys"
            raise UserError("CONFIG", ".".join(path), cause, f"leave out {key}=, or this key")
        values = inner
    old = values.get(path[-1])
    if isinstance(old, dict) and isinstance(value, str):
        value = {**old, "name": value}
    values[path[-1]] = value
