"""The card of a model: how it was made, and what is needed to use it. No PHI, only salted ids."""

import hashlib
import importlib.metadata
import platform

CARD_VERSION = 1


def card(kind: str, *, backbone: dict, recipe: dict, config: dict, seen: dict, **more) -> dict:
    """A JSON-able card.

    kind      "pretrained" or "finetuned"
    backbone  {"name", "in_channels", "options"}: enough to build it again
    seen      what `leakage.record` keeps of patients and scans
    """
    who = sorted({p for part in seen["patients"].values() for p in part})
    return {
        "card": CARD_VERSION,
        "kind": kind,
        "backbone": backbone,
        "recipe": recipe,
        **more,
        **seen,
        "cohort": hashlib.sha256("\n".join(who).encode()).hexdigest()[:16],
        "config": config,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    names = ("medssl", "torch", "monai", "timm", "numpy")
    found = {name: _version(name) for name in names}
    return {"python": platform.python_version(), **found}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
