"""Run a pipeline: a Python program, shipped or your own, that calls stages one after the other.

It is a file with a function `main`, whose arguments are the pipeline's keys: `medssl run quickstart
patients=40` calls `main(patients=40)`. Its folder is importable while it runs, as it is with
`python pipeline.py`.
"""

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from pydantic import Field, ValidationError, create_model

from medssl import shipped
from medssl.config import Config as Base
from medssl.config import Keys
from medssl.describe import plain, type_name
from medssl.errors import UserError


class Config(Base):
    positional: ClassVar = ("pipeline",)
    examples: ClassVar = ("medssl run quickstart out=demo", "medssl run my_pipeline.py seed=1")
    pipeline: str = Field(description="name of a shipped pipeline, or the path of a .py file")
    overrides: dict[str, Any] = Field({}, description="the pipeline's own keys, each as key=value")


def run(config: Config) -> Path | None:
    path = _find(config.pipeline)
    with _importable(path.parent):
        main = _main(path)
        result = main(**arguments(main, config.overrides, path.name))
    return Path(result) if isinstance(result, (str, Path)) else None


def details(values: dict[str, Any]) -> tuple[str, list[tuple[str, str, str, str]]] | None:
    """For the help of one pipeline: what it says of itself, and its keys as rows."""
    if "pipeline" not in values:
        return None
    path = _find(values["pipeline"])
    with _importable(path.parent):
        main = _main(path)
    hints, rows = get_type_hints(main, include_extras=True), []
    for name, p in inspect.signature(main).parameters.items():
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            hint = hints.get(name)
            kind, default = type_name(hint or _kind(p.default)), p.default
            meaning = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, str)), "")
            rows.append((name, kind, "required" if default is p.empty else plain(default), meaning))
    return sys.modules[main.__module__].__doc__ or "", rows


def arguments(main: Callable, given: dict[str, Any], where: str) -> dict[str, Any]:
    """`given`, with text converted to each argument's annotated type, or to that of its default.

    Raises UserError naming every argument that `main` does not take, lacks, or cannot convert.
    """
    parameters = inspect.signature(main).parameters
    named = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    required = [n for n, p in named.items() if p.default is p.empty]
    problems = [f"{n} is required and was not given" for n in required if n not in given]
    if not takes_any:
        problems += [f"{n}: unknown key{_near(n, named)}" for n in given if n not in named]
    hints, converted = get_type_hints(main), {}
    for name, value in given.items():
        converted[name] = value
        if name in named and isinstance(value, str):
            kind = hints.get(name) or _kind(named[name].default)
            try:
                converted[name] = create_model("Key", __base__=Keys, key=(kind, ...))(key=value).key
            except ValidationError as error:
                problems.append(f"{name}={value}: {error.errors()[0]['msg']}")
    if problems:
        keys = [n if n in required else f"{n}={p.default}" for n, p in named.items()]
        raise UserError(
            "CONFIG", where, "; ".join(problems), f"its keys: {' '.join(keys) or 'none'}"
        )
    return converted


def _kind(default: Any) -> Any:
    """The type that an argument's default stands for."""
    if default is None or default is inspect.Parameter.empty:
        return Any
    if isinstance(default, (list, tuple)) and default:
        return list[type(default[0])]
    return type(default)


def _near(name: str, names) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (nearest: {near[0]})" if near else ""


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return path.resolve()
    return shipped.pipeline(name.removesuffix(".py"))


def _main(path: Path) -> Callable:
    """The `main` of a file, which is run as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"pipeline_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look classes up by module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "main", None)):
        raise UserError("CONFIG", path, "has no function main", "put the run into def main(...)")
    return module.main


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
