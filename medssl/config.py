"""What a stage can be told: typed keys with defaults and meanings, and parts chosen from tables.

Defaults live in each stage's `Config` class; a preset (YAML) holds only what differs; the command
line has the last word (`command_line`). There are no environment variables, no interpolation and no
code in YAML.
"""

import difflib
import importlib
import inspect
import os
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from medssl.errors import UserError, one_line

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Proportion = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Keys(BaseModel):
    """A group of keys: unknown ones are refused, `a,b` and single values fill lists.

    `none` is a word where it is one of the words to choose from, and nothing elsewhere.

    Options of a part without its name are those of the default one: `backbone.model=resnet50`.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    @classmethod
    def beneath(cls, values: dict[str, Any]) -> dict[str, Any]:
        """What the values that are given, not yet checked, are laid on, in place of the defaults."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _as_declared(cls, values):
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name, field in cls.model_fields.items():
            if name in values and wants_list(field.annotation):
                values[name] = as_list(values[name])
            if name in values:
                values[name] = of_default(values[name], field.default)
            if values.get(name, "") is None and _offers_none(field.annotation):
                values[name] = "none"
        return values


class Config(Keys):
    """What a stage needs to know. `positional` keys may be given without their name; a list that is the
    last of them takes all words that are left.

    `rest` names a key that takes all words behind the positional ones, as they stand.
    """

    positional: ClassVar[tuple[str, ...]] = ()
    rest: ClassVar[str] = ""
    examples: ClassVar[tuple[str, ...]] = ()


class Part(BaseModel):
    """A choice from a table and its options: `backbone.name=vit backbone.depth=6`.

    Options are the keyword-only arguments of the chosen class's `__init__`; `build` checks them.
    """

    model_config = ConfigDict(extra="allow")
    name: str = Field("", description="a name from the table, or module:Class of your own")

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_name(cls, value):
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def target(self, table: dict[str, str], key: str) -> type:
        """The class that `name` stands for."""
        return resolve(self.name, table, key)

    def check(self, table: dict[str, str], key: str) -> dict[str, Any]:
        """The options, converted to their declared types. Raises UserError naming every bad one."""
        model = options_model(self.target(table, key))
        return validated(model, self.options, f"{key}.").model_dump(exclude_unset=True)

    def checked(self, table: dict[str, str], key: str) -> "Part":
        """The same with converted options: what is recorded, and compared when a run is resumed."""
        return Part(name=self.name, **self.check(table, key))

    def build(self, table: dict[str, str], key: str, *arguments, **fixed):
        """Instantiate the chosen class with checked options.

        Raises UserError when it takes other arguments, or refuses the options by a ValueError.
        """
        options, target = self.check(table, key), self.target(table, key)
        where = f"{key}={self.name}"
        try:
            inspect.signature(target).bind(*arguments, **fixed, **options)
        except TypeError as error:
            raise UserError(
                "CONFIG", where, f"cannot be built as a {key} is: {error}",
                f"let its __init__ take the arguments of the {key}s that ship, options behind a *",
            ) from error  # fmt: skip
        try:
            return target(*arguments, **fixed, **options)
        except UserError:
            raise
        except Exception as error:  # whatever its layers say to numbers they cannot take
            given = ", ".join(f"{k}={v}" for k, v in options.items()) or "its defaults"
            raise UserError(
                "CONFIG", where,
                f"cannot be built with {given} ({type(error).__name__}: {one_line(error)})",
                "change these options; --debug shows where it failed",
            ) from error  # fmt: skip


def of_default(value: Any, default: Any) -> Any:
    """A part's options without its name, laid on the default part's; anything else as it is."""
    if isinstance(default, Part) and isinstance(value, dict) and "name" not in value:
        return {**default.model_dump(), **value}
    return value


def checked_parts(config: "Config", tables: dict[str, dict[str, str]]) -> "Config":
    """A config whose parts are checked against their tables, before any work is done."""
    parts = {key: getattr(config, key).checked(table, key) for key, table in tables.items()}
    return config.model_copy(update=parts)


def resolve(name: str, table: dict[str, str], key: str) -> type:
    """The class behind a table's name or behind `module:Class`."""
    target = table.get(name, name)
    if ":" not in target:
        raise UserError(
            "CONFIG", f"{key}.name={name}", f"unknown name{_did_you_mean(name, table)}",
            f"choose one of {', '.join(sorted(table))}, or give module:Class",
        )  # fmt: skip
    module, _, attribute = target.partition(":")
    if name not in table and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own module lies where the command is given
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of the user's own may raise anything when imported
        raise UserError(
            "CONFIG", f"{key}.name={name}",
            f"cannot be loaded ({type(error).__name__}: {one_line(error)})",
            "check the module path and that the module can be imported",
        ) from error  # fmt: skip
    if not inspect.isclass(found):
        raise UserError("CONFIG", f"{key}.name={name}", "is no class", "give module:Class")
    return found


def options_model(target: type) -> type[Keys]:
    """The keyword-only arguments of a class's `__init__` as a model.

    `Annotated[Count, "meaning"]` gives the type, with its bounds if it has some, and the meaning.
    """
    hints = typing.get_type_hints(target.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(target.__init__).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or name == "in_channels":
            continue
        annotation, meaning = hints.get(name, Any), ""
        if get_origin(annotation) is Annotated:
            kind, *more = get_args(annotation)
            meaning = next((m for m in more if isinstance(m, str)), "")
            bounds = [m for m in more if not isinstance(m, str)]
            annotation = Annotated[kind, *bounds] if bounds else kind
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (annotation, Field(default, description=meaning))
    return create_model(target.__name__, __base__=Keys, **fields)


def merge(base: dict, over: dict) -> dict:
    """`over` laid on `base`, mapping by mapping; a part given by another name drops old options, and a
    mapping of numbers, such as names of mask values, is one value that takes the old one's place."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, str) and isinstance(old, dict) and "name" in old:
            value = {"name": value}
        if isinstance(value, dict) and isinstance(old, dict):
            another = "name" in value and value["name"] != old.get("name")
            numbered = value and all(str(k).isdigit() for k in value)
            merged[key] = value if another or numbered else merge(old, value)
        else:
            merged[key] = value
    return merged


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted keys."""
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def wants_list(kind: Any) -> bool:
    options = get_args(kind) if get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return any(get_origin(k) in (list, tuple) or k in (list, tuple) for k in options)


def _offers_none(kind: Any) -> bool:
    return get_origin(kind) is typing.Literal and "none" in get_args(kind)


def as_list(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value else []
    return [value] if isinstance(value, (int, float, Path)) else value


def validated(model: type[BaseModel], values: dict, prefix: str = ""):
    try:
        return model(**values)
    except ValidationError as error:
        problems = [_problem(model, e, prefix) for e in error.errors()]
        raise UserError(
            "CONFIG", ", ".join(where for where, _ in problems),
            "; ".join(cause for _, cause in problems), "correct the keys named; --help lists all",
        ) from error  # fmt: skip


def _problem(model: type[BaseModel], error: dict, prefix: str) -> tuple[str, str]:
    key = prefix + ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        accepted = _accepted(model, prefix)
        near = _did_you_mean(key, accepted) or f"; accepted: {', '.join(accepted) or 'none'}"
        return key, f"unknown key{near}"
    if error["type"] == "missing":
        return key, "is required and was not given"
    if error["type"] == "value_error":  # of several keys together
        return key, str(error["ctx"]["error"])
    return key, f"found {error.get('input')!r}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _accepted(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        if inspect.isclass(field.annotation) and issubclass(field.annotation, Keys):
            names += _accepted(field.annotation, f"{prefix}{name}.")
    return names


def _did_you_mean(word: str, accepted) -> str:
    near = difflib.get_close_matches(word, list(accepted), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
