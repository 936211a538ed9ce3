"""Every shipped preset names what exists, builds, and opens with the command to run."""

import importlib

import pytest

from medssl import command_line, shipped
from medssl.augment.compose import Augment
from medssl.backbones.base import BACKBONES
from medssl.backbones.base import build as build_backbone

PRESETS = [(verb, name) for verb, names in shipped.presets().items() for name in names]


def loaded(verb, name):
    stage = importlib.import_module(f"medssl.stages.{verb}")
    return stage, command_line.of(stage.Config, verb, name)


@pytest.mark.parametrize("verb, name", PRESETS)
def test_opens_with_what_it_is_and_the_command(verb, name):
    lines = shipped.preset(verb, name).read_text().splitlines()
    assert lines[0].startswith("# ") and lines[1].startswith(f"# medssl {verb} {name} ")
    loaded(verb, name)


@pytest.mark.parametrize("name", shipped.presets()["pretrain"])
def test_pretraining_presets_build(name):
    stage, settings = loaded("pretrain", name)
    options = settings.backbone.check(BACKBONES, "backbone")
    real = build_backbone(settings.backbone.name, in_channels=1, **options)
    method = settings.method.build(stage.METHODS, "method", real, lambda image, seeds: image)
    assert len(method.crops.size) == real.ndim


@pytest.mark.parametrize("name", shipped.presets()["finetune"])
def test_fine_tuning_presets_build(name):
    stage, settings = loaded("finetune", name)
    options = settings.arch.check(BACKBONES, "arch")
    backbone = build_backbone(settings.arch.name, in_channels=1, **options)
    task = settings.task.build(
        stage.TASKS, "task", backbone, Augment(), {0: "no", 1: "yes"}, (-1.0, 1.0)
    )
    assert len(task.crops.size) == backbone.ndim
