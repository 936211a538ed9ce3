"""Weights that carry what is needed to use them, and states that a run resumes from.

A model folder holds `weights.safetensors` and `card.json`, for people also as `card.md`. A checkpoint
folder holds the whole trainable's `weights.safetensors`, `trainer.pt` (tensors and plain values only)
and, written last, `complete.json` with the SHA-256 of both; the folder gets its name only when all is
on disk.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medssl import __version__
from medssl.data.files import write_atomically
from medssl.data.given import OF_RUNS, no_such_folder
from medssl.errors import UserError, one_line
from medssl.progress import say
from medssl.training.card import CARD_VERSION, as_markdown
from medssl.training.durable import Hashed, plain, replacing, sha256, size_of, write_tensors
from medssl.training.run_folder import NOT_KEPT, WEIGHTS, checkpoints

KEPT = 2
FILES = ("weights.safetensors", "trainer.pt")
SHOWN = 10
_ALL = ("kind", "backbone", "recipe", "patients", "scans", "config", "steps", "weights_sha256")
# What a card must hold: of any model, and of one that was fine-tuned.
KEYS = (_ALL, (*_ALL, "task", "classes", "target", "start", "trained_on"))


def save_model(folder: Path, modules: dict[str, nn.Module], card: dict) -> None:
    """Write the weights of named modules and their card, replacing what was there."""
    tensors = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    tensors = plain(tensors)
    with replacing(folder, size_of(tensors)) as temporary:
        digest = write_tensors(temporary / "weights.safetensors", tensors)
        card = {**card, "weights_sha256": digest}
        (temporary / "card.json").write_text(json.dumps(card, indent=1))
        (temporary / "card.md").write_text(as_markdown(card))


def tell_figures(folder: Path, figures: dict[str, dict]) -> None:
    """Have the card.md of a run's model tell what it was found to be worth, too."""
    text = as_markdown({**read_card(folder), "metrics": figures})
    write_atomically(model_folder(folder) / "card.md", lambda path: path.write_text(text))


def read_card(folder: Path) -> dict:
    """The card of a model folder, or of a run folder that holds one. Raises UserError."""
    given, folder = Path(folder), model_folder(folder)
    if not given.exists():
        raise UserError("CHECKPOINT", given, no_such_folder(given), OF_RUNS[1])
    try:
        card = json.loads((folder / "card.json").read_text())
    except FileNotFoundError as error:
        if (folder / "finetune").is_dir():
            raise UserError(
                "CHECKPOINT", folder, "is a study, which holds many runs",
                f"give one of them: `medssl runs ls {folder}/finetune` lists them",
            ) from error  # fmt: skip
        if folder == given and (folder / "config.json").exists():  # of a run, which has no model/
            raise UserError(
                "CHECKPOINT", folder, "is a run that has not written its model yet",
                "let it come to its first checkpoint (fit.every): its own command goes on with it",
            ) from error  # fmt: skip
        raise UserError(
            "CHECKPOINT", folder, "holds no card.json, as a model does",
            "give the folder of a run that has finished, or of a model",
        ) from error  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(
            "CHECKPOINT", folder, f"holds no readable card.json ({one_line(error)})",
            "give the folder of a run that has finished, or of a model",
        ) from error  # fmt: skip

    lacking = ["mapping"] if not isinstance(card, dict) else []
    lacking = lacking or [key for key in KEYS[card.get("kind") == "finetuned"] if key not in card]
    if lacking:
        raise UserError(
            "CHECKPOINT", folder, f"its card.json has no {', '.join(lacking)}",
            "restore the file from a copy, or train again",
        )  # fmt: skip
    if card.get("card", 1) > CARD_VERSION:
        raise UserError(
            "CHECKPOINT", folder, f"its card is of version {card['card']}, this medssl ({__version__}) "
            f"reads up to {CARD_VERSION}", "install the medssl that it was made with, or a newer one",
        )  # fmt: skip
    return card


def model_folder(folder: Path) -> Path:
    folder = Path(folder)
    return folder / "model" if (folder / "model").is_dir() else folder


def drop_weights(folder: Path) -> None:
    """Leave a run's weights out on purpose, and say so."""
    (folder / NOT_KEPT).touch()
    (folder / WEIGHTS).unlink(missing_ok=True)


def load_weights(folder: Path, module: nn.Module, name: str) -> None:
    """Load the weights called `name` strictly. Raises UserError for bit rot or other keys."""
    folder = model_folder(folder)
    path, card = folder / "weights.safetensors", read_card(folder)
    if not path.exists():
        cause, fix = "is not there", "restore the file from a copy, or train again"
        if (folder / NOT_KEPT.name).exists():
            cause = "its weights were not kept, as a study keeps none without keep=true"
            fix = f"`medssl runs show {folder.parent}` gives the command that makes them again"
        raise UserError("CHECKPOINT", path, cause, fix)
    if sha256(path) != card.get("weights_sha256"):
        raise UserError(
            "CHECKPOINT", path, "its bytes are not those that were saved (checksum differs)",
            "restore the file from a copy, or train again",
        )  # fmt: skip
    prefix = f"{name}."
    state = {k.removeprefix(prefix): v for k, v in load_file(path).items() if k.startswith(prefix)}
    wanted = module.state_dict()
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    shapes = [k for k in wanted if k in state and wanted[k].shape != state[k].shape]
    if missing or extra or shapes:
        raise UserError(
            "CHECKPOINT", path,
            f"{len(missing)} weights of {name} missing, {len(extra)} not expected, {len(shapes)} of "
            f"another shape (first: {', '.join((missing + extra + shapes)[:SHOWN])}); saved by medssl "
            f"{card.get('versions', {}).get('medssl', 'of no known version')}, this is {__version__}",
            "use the architecture and options that the card names",
        )  # fmt: skip
    module.load_state_dict(state)


def save_state(folder: Path, step: int, weights: dict[str, Tensor], trainer: dict) -> Path:
    """Write a state to resume from as `folder/step-<n>`; the last two are kept.

    Raises UserError DISK when there is no room or no leave to write: those that are there stay good.
    """
    final = folder / f"step-{step:08d}"
    weights = plain(weights)
    with replacing(final, size_of(weights) + size_of(trainer), private=True) as temporary:
        sums = {FILES[0]: write_tensors(temporary / FILES[0], weights)}
        with Hashed(temporary / FILES[1]) as file:
            torch.save({"step": step, **trainer}, file)
        sums[FILES[1]] = file.sha256
        (temporary / "complete.json").write_text(json.dumps(sums))
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def sweep(folder: Path) -> None:
    """Put away what a killed process left; the caller holds the run's lock."""
    for old in folder.glob(".step-*.old"):  # killed while it was replaced: it is still the newest
        if not (final := old.with_name(old.name[1:].removesuffix(".old"))).exists():
            os.rename(old, final)
    for torn in folder.glob(".step-*"):
        shutil.rmtree(torn)


def load_state(folder: Path) -> tuple[dict, dict] | None:
    """Weights and trainer state of the newest checkpoint that is whole; None when there is none.

    Says which are not: torn by a kill, or of other bytes than were saved. Raises UserError when there
    are checkpoints, and not one is whole.
    """
    sweep(folder)
    found = checkpoints(folder)[::-1]
    for candidate in found:
        if state := read_state(candidate):
            return state
    if found:
        raise UserError(
            "CHECKPOINT", folder, f"none of {len(found)} checkpoints is complete",
            "delete the folder and start the run again",
        )  # fmt: skip
    return None


def read_state(candidate: Path) -> tuple[dict, dict] | None:
    """Weights and trainer state of one checkpoint; None when it is not whole, which is said."""
    try:
        sums = json.loads((candidate / "complete.json").read_text())
        rotten = [f for f in FILES if sha256(candidate / f) != sums[f]]
        if not rotten:
            trainer = torch.load(candidate / FILES[1], weights_only=True)
            return load_file(candidate / FILES[0]), trainer
        cause = f"the bytes of {rotten[0]} are not those that were saved (checksum differs)"
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        cause = f"it is not complete ({one_line(error)})"
    say(
        f"remark: checkpoint {candidate.name} is left out: {cause}; the one before it is looked for"
    )
    return None
