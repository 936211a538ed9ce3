"""One module a verb: files in, files out. The only place where the layers meet.

Every module has `Config`, what the stage needs to know, and `run(config)`, which does it. The command
line, pipelines and notebooks all come in through `start`, which first looks where results would lie.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl.config import Config


def call(verb: str, preset: str = "", /, **values: Any) -> Path | None:
    """Run a stage as the command line would: `call("prepare", "ct_body", manifest=..., out=...)`."""
    from medssl import command_line
    from medssl.data.given import check_values

    check_values(verb, values)  # before a stage is loaded, which takes its time
    stage = importlib.import_module(f"medssl.stages.{verb}")
    return start(verb, command_line.of(stage.Config, verb, preset, values))


def asked(verb: str, words: list[str]) -> "Config":
    """What the words behind a verb ask for, checked. Raises UserError naming all that is wrong."""
    from medssl import command_line
    from medssl.data.given import check_words

    check_words(verb, words)
    stage = importlib.import_module(f"medssl.stages.{verb}")
    return command_line.load(stage.Config, verb, words, getattr(stage, "TABLES", None))


def start(verb: str, config: "Config") -> Path | None:
    """Run a stage, unless its `out` lies where nobody may write; training, in as many ranks as asked."""
    if getattr(config, "out", None) is not None:
        from medssl.data.out import check_out

        check_out(verb, config)
    if devices := getattr(getattr(config, "fit", None), "devices", 0):
        from medssl.training import launch

        if devices > 1 and launch.started()[0] == 1:
            return launch.launch(verb, config, devices)
        launch.join(config.fit)
    return importlib.import_module(f"medssl.stages.{verb}").run(config)
