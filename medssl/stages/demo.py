"""The whole chain on an embedded phantom cohort, in minutes on a laptop.

Makes CT scans of phantom patients, then index, prepare, pretrain, fine-tune with four labelled
scans (from scratch and from the pretrained backbone), evaluate and predict, and says where the
report lies. Started again, it goes on where it stopped.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medssl.config import Config as Base
from medssl.progress import say
from medssl.stages import run as pipeline


class Config(Base):
    positional: ClassVar = ("out",)
    examples: ClassVar = ("medssl demo", "medssl demo out=/tmp/demo")
    out: Path = Field(Path("demo"), description="folder to write to")


def run(config: Config) -> Path:
    chosen = pipeline.Config(pipeline="quickstart", overrides={"out": config.out})
    report = pipeline.run(chosen)
    say(f"open {report}")
    return report
