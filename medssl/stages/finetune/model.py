"""A fine-tuned task on disk: the backbone and the head, each weight once."""

from pathlib import Path

import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build as build_backbone
from medssl.config import Part
from medssl.data.recipe import Recipe
from medssl.errors import UserError
from medssl.tasks.base import TASKS
from medssl.training.checkpoint import load_weights, read_card
from medssl.training.loop import to_channels_last


class Head(torch.nn.Module):
    """A task without its backbone, so that each weight is saved once."""

    def __init__(self, task: torch.nn.Module):
        super().__init__()
        self.parts = torch.nn.ModuleDict(
            {k: m for k, m in task.named_children() if k != "backbone"}
        )
        for name, buffer in task.named_buffers(recurse=False):
            self.register_buffer(name, buffer)


def decoder_of(task: torch.nn.Module) -> torch.nn.Module:
    """The blocks of a task's decoder: all of it but the layer that names the classes."""
    if not hasattr(task, "decoder"):
        raise UserError(
            "CONFIG", "decoder=true", "this task has no decoder", "leave decoder out, or segment"
        )
    return task.decoder.blocks


def load_task(folder: Path, device: torch.device | str = "cpu") -> tuple[torch.nn.Module, dict]:
    """The fine-tuned task of a run or model folder, ready to predict on a device, and its card."""
    about = read_card(folder)
    if about.get("kind") != "finetuned":
        raise UserError(
            "CHECKPOINT", folder, f"holds a {about.get('kind')} model, which cannot predict",
            "fine-tune it first: medssl finetune ... backbone=" + str(folder),
        )  # fmt: skip
    backbone = build_backbone(about["backbone"]["name"], **about["backbone"]["options"])
    classes = {int(k): v for k, v in about["classes"].items()}
    recipe = Recipe(**about["recipe"])
    task = Part(**about["task"]).build(
        TASKS, "task", backbone, Augment(), classes, recipe.value_range
    )
    load_weights(folder, backbone, "backbone")
    load_weights(folder, Head(task), "task")
    return to_channels_last(task, backbone.ndim).to(device).eval(), about
