"""Copy a shipped preset or pipeline to edit it.

The copy is used by its path: `medssl pretrain voco.yaml ...`, `medssl run quickstart.py ...`.
A file that exists is never overwritten.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medssl import shipped
from medssl.config import Config as Base
from medssl.errors import UserError


class Config(Base):
    positional: ClassVar = ("source", "to")
    examples: ClassVar = (
        "medssl copy pretrain/voco",
        "medssl copy pretrain/voco my_voco.yaml",
        "medssl copy quickstart.py",
    )
    source: str = Field(description="verb/name of a preset, or the name of a pipeline")
    to: Path = Field(Path("."), description="file to write, or the folder to write it to")


def run(config: Config) -> Path:
    source = _find(config.source)
    target = config.to / source.name if config.to.is_dir() else config.to
    if target.suffix != source.suffix:
        raise UserError(
            "CONFIG", f"to={config.to}", f"expected the name of a {source.suffix} file or a folder",
            f"write to={config.to.with_suffix(source.suffix)}, or make the folder first",
        )  # fmt: skip
    try:
        with open(target, "xb") as stream:
            stream.write(source.read_bytes())
    except FileExistsError as error:
        raise UserError(
            "EXISTS", target, "the file exists and is not overwritten", "give another name: to=..."
        ) from error
    except OSError as error:
        raise UserError(
            "WRITE", target, f"cannot be written ({error.strerror})", "choose another to="
        ) from error
    return target


def _find(source: str) -> Path:
    source = source.removeprefix("run/")  # as `medssl presets` lists pipelines
    if source.endswith(".py") or source in shipped.pipelines():
        return shipped.pipeline(source.removesuffix(".py"))
    verb, slash, name = source.removesuffix(".yaml").partition("/")
    if slash and verb in shipped.presets():
        return shipped.preset(verb, name)
    known = [f"{v}/{n}" for v, names in shipped.presets().items() for n in names]
    known += [f"{n}.py" for n in shipped.pipelines()]
    like = [k for k in known if verb in k.replace(".py", "").split("/")] or known
    raise UserError(
        "CONFIG", f"source={source}", "is not written as verb/name of a preset or name.py",
        f"choose one of {', '.join(like)}",
    )  # fmt: skip
