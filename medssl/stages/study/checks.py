"""What a study is asked, looked at before the first hour is spent on it."""

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd

from medssl.config import flat
from medssl.data.leakage import record
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import UserError
from medssl.evaluation.headline import higher_is_better
from medssl.stages import finetune, pretrain
from medssl.stages.evaluate.scans import groups_of
from medssl.stages.study import arms as of_arms
from medssl.stages.study import cells as of_cells
from medssl.stages.study.labels import check_labels
from medssl.training.checkpoint import read_card

if TYPE_CHECKING:
    from medssl.stages.study import Config


def check(
    config: "Config", arms: dict[str, of_arms.Arm], chains: dict[str, of_arms.Chain],
    cells: Sequence[of_cells.Cell], on_trial: bool,
) -> dict[str, str]:  # fmt: skip
    """Raise UserError for keys that no run would take, and for what lies in the store. Returns what stands
    for the scans with labels and for the backbones that are given.

    cells     all fine-tunings, from wherever they start
    on_trial  whether validation scans choose among settings
    """
    if config.scratch_trials and len(config.scratch_trials) != len(config.trials):
        cause = f"are {len(config.scratch_trials)}, trials are {len(config.trials)}"
        raise UserError("CONFIG", "scratch_trials", cause, "let every arm try as often")
    every = {"finetune": config.finetune}
    tried = {f"{name}.{i}": keys for name in ("trials", "scratch_trials")
             for i, keys in enumerate(getattr(config, name))}  # fmt: skip
    own = {f"arms.{name}.finetune": arm.finetune for name, arm in arms.items()} | tried
    of_cells.check_keys(every, equal=False)
    of_cells.check_keys(own, equal=True)
    before = {"pretrain": config.pretrain} | {f"arms.{n}.keys": a.keys for n, a in arms.items()}
    with _keys_as_given(before):
        pretrainings = {
            name: [of_arms.settings(*part) for part in chain] for name, chain in chains.items()
        }
        several = [each.fit.devices > 1 for chain in pretrainings.values() for each in chain]
    with _keys_as_given(every | own):
        several += [cell.settings().fit.devices > 1 for cell in cells]
    if any(several):
        cause = "is more than one: a study trains each network on one device"
        raise UserError(
            "CONFIG", "fit.devices", cause, "leave it out; jobs= trains several at once"
        )
    if any(cell.settings().patience for cell in cells):
        cause = "would end arms after different steps"
        fix = "leave it out; of each fine-tuning the weights that validate best are kept anyway"
        raise UserError("CONFIG", "finetune.patience", cause, fix)
    _refuse_idle("pretrain", config.pretrain, {f"arms.{n}.keys": arms[n].keys for n in chains})
    _refuse_idle("finetune", config.finetune, tried)
    if config.pretrain and not chains:
        cause = "is given, and every arm comes with a backbone"
        raise UserError("CONFIG", "pretrain", cause, "leave it out, or give methods=")
    if config.figure:
        try:
            higher_is_better(config.figure)
        except KeyError as error:
            cause = "is no figure of medssl evaluate"
            fix = "leave it out for the main one, or name one that metrics.json holds"
            raise UserError("CONFIG", f"figure={config.figure}", cause, fix) from error
    # What lies in the store: told now, and not after hours of pretraining.
    store = Store.read_from(config.store)
    manifest = Manifest.read(store.manifest)
    store.check_current(manifest)
    for name in config.by:
        groups_of(manifest, store.items, name)
    cards = {name: read_card(arm.backbone) for name, arm in arms.items() if arm.backbone}
    seen = {str(arms[name].backbone): card for name, card in cards.items()}
    for name, chain in pretrainings.items():
        if not of_arms.mark_of(chains[name]).exists():  # else its store may have gone since
            items = [pretrain.scans_of(each)[2] for each in chain]
            seen[f"pretraining of {name}"] = record(pretrain=pd.concat(items))
    scans = check_labels(cells, manifest, config.split, config.tolerance, on_trial, seen)
    return {"scans": scans} | {name: card["weights_sha256"] for name, card in cards.items()}


def refuse_of_a_run(values: dict, own: Set[str]) -> None:
    """Raise UserError for a key of a pretraining or a fine-tuning that is none of the study's own."""
    kinds = {"finetune": finetune.Config, "pretrain": pretrain.Config}
    for key in flat(values):
        top = key.partition(".")[0]
        groups = [group for group, kind in kinds.items() if top in kind.model_fields]
        if groups and top not in own and key not in of_cells.OWN:
            fix = " or ".join(f"{group}.{key}" for group in groups)
            raise UserError("CONFIG", key, "is a key of the study's runs", f"give {fix}")


def _refuse_idle(group: str, keys: dict, own: dict[str, dict]) -> None:
    """Raise UserError for a key of a group that all who would take it have another value of."""
    others = [flat(each) for each in own.values()]
    for key, value in flat(keys).items():
        if others and all(each.get(key, value) != value for each in others):
            cause = f"does nothing: {', '.join(list(own)[:4])} have others of their own"
            first = f", such as '{min(own)}.{key}=...'" if group == "pretrain" else ""
            fix = f"leave it out, or change theirs{first}; `medssl copy` gives a preset to edit"
            raise UserError("CONFIG", f"{group}.{key}", cause, fix)


@contextmanager
def _keys_as_given(groups: dict[str, dict]) -> Iterator[None]:
    """An error about a key that a run would not take names it as this command gives it: of its group."""
    try:
        yield
    except UserError as error:
        given = [f"{group}.{key}" for group, keys in groups.items() for key in flat(keys)]
        named = [
            next((whole for whole in given if whole.endswith(f".{key}")), key)
            for key in str(error.where).split(", ")
        ]
        raise UserError(error.code, ", ".join(named), error.cause, error.fix) from error
