"""One module a verb: files in, files out. The only place where the layers meet.

Every module has `Config`, what the stage needs to know, and `run(config)`, which does it. The command
line, pipelines and notebooks all come in through these two.
"""

import importlib
from pathlib import Path
from typing import Any


def call(verb: str, preset: str = "", /, **values: Any) -> Path | None:
    """Run a stage as the command line would: `call("prepare", "ct_body", manifest=..., out=...)`."""
    from medssl import config

    stage = importlib.import_module(f"medssl.stages.{verb}")
    return stage.run(config.of(stage.Config, verb, preset, values))
