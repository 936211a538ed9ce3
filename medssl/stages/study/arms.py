"""The arms of a study: how each comes by its backbone."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from medssl import command_line
from medssl.config import Keys, merge
from medssl.data.files import write_json
from medssl.errors import UserError
from medssl.progress import say
from medssl.stages import pretrain
from medssl.training.checkpoint import read_card
from medssl.training.energy import metered
from medssl.training.log import minutes_of
from medssl.training.study_folder import folder_name

SCRATCH = "from scratch"
TIMED = 8  # steps
Chain = list[tuple[str, dict]]  # preset and keys of pretrainings, one after the other


class Arm(Keys):
    """How to come by a backbone, and what is different in its fine-tuning."""

    pretrain: list[str] = Field(
        [], description="presets of `medssl pretrain`, each going on from the one before"
    )
    keys: dict[str, Any] = Field(
        {}, description="keys of its pretraining, in place of the presets'"
    )
    backbone: Path | None = Field(None, description="a run that was pretrained before, instead")
    finetune: dict[str, Any] = Field({}, description="keys of its fine-tuning")


@dataclass(frozen=True)
class Start:
    """An arm that is ready: what its fine-tunings start from."""

    name: str
    backbone: Path
    from_scratch: bool
    keys: dict


def named(
    methods: Sequence[str],
    backbones: Sequence[Path],
    arms: dict[str, Arm],
    only: Sequence[str] = (),
) -> dict[str, Arm]:
    """Every arm by its name; of `arms` those of `only`, if that is not empty, and those that were to be
    pretrained from a backbone of their name, if there is one. Raises UserError CONFIG for none, and for two
    of one name."""
    if unknown := set(only) - set(arms):
        cause = f"names {', '.join(sorted(unknown))}, the arms are {', '.join(arms) or 'none'}"
        raise UserError("CONFIG", "only", cause, "name some of them")
    arms = {name: arm for name, arm in arms.items() if name in only or not only}
    ready = {path.resolve().name: path for path in backbones}
    for name, arm in arms.items():
        if arm.pretrain and (backbone := ready.get(folder_name(name))):
            arms[name] = Arm(backbone=backbone, finetune=arm.finetune)
            backbones = [path for path in backbones if path != backbone]
    given = [(method, Arm(pretrain=method.split("+"))) for method in methods]
    given += [(path.resolve().name, Arm(backbone=path)) for path in backbones]
    given += list(arms.items())
    if not given:
        raise UserError(
            "CONFIG", "methods", "there is nothing to compare with training from scratch",
            "give methods=PRESET,... or backbones=RUN,..., or a preset (medssl presets)",
        )  # fmt: skip
    folders = [folder_name(name) for name, _ in given] + [folder_name(SCRATCH)]
    if twice := sorted({name for name in folders if folders.count(name) > 1}):
        fix = "name them apart: arms.NAME.backbone=RUN"
        raise UserError("CONFIG", "arms", f"two are called {twice[0]}", fix)
    for name, arm in given:
        if bool(arm.pretrain) == bool(arm.backbone):
            cause = "wants either pretrain or backbone"
            raise UserError("CONFIG", f"arms.{name}", cause, "give one of them")
    return dict(given)


def chain_of(name: str, arm: Arm, keys: dict, out: Path) -> Chain:
    """The pretrainings of an arm; its own keys are laid on `keys`."""
    keys, chain = merge(keys, arm.keys), []
    folder = out / folder_name(name)
    for i, preset in enumerate(arm.pretrain, start=1):
        here = folder if i == len(arm.pretrain) else folder.with_name(f"{folder.name}-{i}")
        start = {"start": chain[-1][1]["out"]} if chain else {}
        chain.append((preset, {**keys, **start, "out": str(here)}))
    return chain


def settings(preset: str, keys: dict) -> pretrain.Config:
    return command_line.of(pretrain.Config, "pretrain", preset, keys)


def mark_of(chain: Chain) -> Path:
    """The file that says that a chain is done, and at what cost."""
    return Path(chain[-1][1]["out"]) / "pretrained.json"


def pretrained(chain: Chain, minutes: float = 0) -> None:
    """Do all pretrainings of a chain, in so many minutes together (0: as their presets say)."""
    anew = not any((Path(keys["out"]) / "metrics.jsonl").exists() for _, keys in chain)
    with metered() as cost:
        for preset, keys in lasting(chain, minutes):
            pretrain.run(settings(preset, keys))
    spent = sum(minutes_of(Path(keys["out"])) for _, keys in chain)
    write_json(mark_of(chain), {"minutes": spent, **cost.energy(anew)})


def lasting(chain: Chain, minutes: float) -> Iterator[tuple[str, dict]]:
    """A chain with the steps that fit into so many minutes; each is timed once the one before is done."""
    for preset, keys in chain:
        yield preset, _fitted(preset, keys, minutes / len(chain))


def steps_of(chain: Chain, minutes: float) -> dict[str, int]:
    """The steps that a chain made, and those that it would have made without a limit on its minutes."""
    made, whole = (
        sum(settings(preset, keys).fit.steps for preset, keys in parts)
        for parts in (lasting(chain, minutes), chain)
    )
    return {"steps": made, "whole": whole}


def _fitted(preset: str, keys: dict, minutes: float) -> dict:
    """`keys` with the steps that fit into the minutes; what was timed once stays."""
    if not minutes:
        return keys
    out = Path(keys["out"])
    told, trial = out.with_name(f"{out.name}.steps.json"), out.with_name(f"{out.name}.timed")
    if not told.exists():
        say(f"study: timing {TIMED} steps of {preset}, to fit {minutes:.3g} minutes")
        few = merge(keys, {"out": str(trial), "fit": {"steps": TIMED, "every": TIMED}})
        pretrain.run(settings(preset, few))
        steps = max(TIMED, int(minutes / minutes_of(trial) * TIMED))
        write_json(told, {"steps": steps, "every": max(1, steps // 4)})
        say(
            f"study: {steps} steps fit; without minutes= they are {settings(preset, keys).fit.steps}"
        )
        shutil.rmtree(trial)
    return merge(keys, {"fit": json.loads(told.read_text())})


def backbone_of(name: str, arm: Arm, chains: dict[str, Chain]) -> Path:
    """The run that an arm's fine-tunings start from."""
    return arm.backbone or mark_of(chains[name]).parent


def networks(arms: dict[str, Arm], chains: dict[str, Chain]) -> dict[str, str]:
    """By arm what its network is, once all are pretrained."""
    cards = {name: read_card(backbone_of(name, arm, chains)) for name, arm in arms.items()}
    return {name: described(card["backbone"]) for name, card in cards.items()}


def described(backbone: dict) -> str:
    """A card's description of a network as one text, the same for the same network."""
    return json.dumps(backbone, sort_keys=True)


def starts(
    arms: dict[str, Arm], chains: dict[str, Chain], networks: dict[str, str]
) -> tuple[list[Start], dict[str, str]]:
    """Every arm, those from scratch first, and by arm the one to compare it with: of its network."""
    found = {
        name: Start(name, backbone_of(name, arm, chains), False, arm.finetune)
        for name, arm in arms.items()
    }
    several, scratch = len(set(networks.values())) > 1, {}
    for name, network in networks.items():
        called = f"{SCRATCH}, as {name}" if several else SCRATCH
        scratch.setdefault(network, Start(called, found[name].backbone, True, {}))
    baselines = {name: scratch[network].name for name, network in networks.items()}
    return [*scratch.values(), *found.values()], baselines
