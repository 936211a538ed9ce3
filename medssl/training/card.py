"""The card of a model: how it was made, and what is needed to use it. No PHI, only salted ids."""

import hashlib
import importlib.metadata
import platform

from medssl.data.recipe import Recipe

# 1: what is needed to use a model. 2: counts by modality, licence, and what the Markdown card says.
CARD_VERSION = 2
# What tells one patient or scan from another: a model that is passed on goes without.
OF_PATIENTS = ("patients", "scans", "pixels", "looks", "patient_key")
INTENDED = (
    "Research: a start for fine-tuning, and features, of scans prepared as said below. It is no medical "
    "device. Before anything depends on what it says, test it on patients of the place where it is to be "
    "used."
)


def card(kind: str, *, backbone: dict, recipe: dict, config: dict, seen: dict, **more) -> dict:
    """A JSON-able card.

    kind      "pretrained", "finetuned" or "imported"
    backbone  {"name", "options"}: enough to build it again
    seen      what `leakage.record` keeps of patients and scans
    """
    who = sorted({p for part in seen["patients"].values() for p in part})
    return {
        "card": CARD_VERSION,
        "kind": kind,
        "backbone": backbone,
        "recipe": recipe,
        "licence": "",
        **more,
        **seen,
        "cohort": hashlib.sha256("\n".join(who).encode()).hexdigest()[:16],
        "config": config,
        "versions": versions(),
    }


def counts(parts: dict) -> dict[str, dict]:
    """Scans, patients and modalities of the items of each part, for a card's `counts`."""
    return {
        part: {
            "scans": len(items),
            "patients": int(items["patient"].nunique()),
            "modalities": {
                str(m) or "not said": int(n) for m, n in items["modality"].value_counts().items()
            } if "modality" in items else {},
        }
        for part, items in parts.items()
    }  # fmt: skip


def planned(card: dict) -> int:
    """The steps that were asked for; none of weights that were made elsewhere."""
    return card.get("config", {}).get("fit", {}).get("steps", 0)


def nothing_learnt(card: dict) -> str:
    """What to say of a model whose validation score is no better than that of no learning; "" of others."""
    validation, chance = card.get("validation"), card.get("chance")
    if validation is None or chance is None or validation > chance:
        return ""
    return (
        f"next to nothing has been learnt: the best validation {figure_of(card)} is {validation:.4f}, and "
        f"without any learning, as by one answer for all scans, it is up to {chance:.4g}. Try more "
        "fit.steps, and look whether the labels are right"
    )


def figure_of(card: dict) -> str:
    """What the validation score of a model is; cards of before do not say."""
    return card.get("figure") or "score"


def limits(card: dict) -> list[str]:
    """What is known to speak against a model, and what is not known."""
    said = []
    if card.get("kind") == "imported":
        source = card.get("source", {})
        said.append(
            f"Made elsewhere ({source.get('file', 'a file')}): which patients it was trained on is not "
            "known here, so the guard against seen patients cannot tell."
        )
        share = card.get("ledger", {}).get("share", 1)
        if share < 1:
            said.append(f"{1 - share:.1%} of its weights were not in the file, and are random.")
    else:
        seen = card.get("counts", {})
        n = sum(part.get("patients", 0) for part in seen.values())
        n = n or len({p for part in card.get("patients", {}).values() for p in part})
        said.append(
            f"Of one cohort of {n} patients; on other scanners, protocols and ages it is not tested."
        )
        if card.get("steps", 0) < planned(card):
            said.append(f"Its training stopped at step {card['steps']} of {planned(card)}.")
    if card.get("alarm"):
        said.append(f"Its features were found collapsed: {card['alarm']}.")
    if not card.get("metrics"):
        said.append("It comes without figures of its own.")
    return said


def passed_on(card: dict, licence: str = "", metrics: dict | None = None) -> dict:
    """A card for others: who was seen is left out, how many were is kept."""
    kept = {key: value for key, value in card.items() if key not in OF_PATIENTS}
    seen = card.get("counts") or {
        part: {"patients": len(ids), "scans": len(card.get("scans", {}).get(part, []))}
        for part, ids in card.get("patients", {}).items()
    }
    kept |= {"counts": seen, "licence": licence or card.get("licence", "")}
    kept["metrics"] = metrics or card.get("metrics", {})
    kept |= {"intended_use": INTENDED, "limits": limits({**card, **kept})}
    return kept


def as_markdown(card: dict) -> str:
    """A card for people, of any version."""
    backbone, kind = card.get("backbone", {}), card.get("kind", "")
    name = backbone.get("name", "a network")
    network = ", ".join(
        f"{key} {_words(value)}" for key, value in backbone.get("options", {}).items()
    )
    made = {
        "imported": f"weights of {card.get('source', {}).get('file', 'a file')}",
        "pretrained": f"pretrained with {(card.get('method') or {}).get('name', '?')}",
        "finetuned": f"fine-tuned for {(card.get('task') or {}).get('name', '?')}",
    }.get(kind, kind)
    lines = [
        f"# {', '.join(filter(None, [name, made]))}",
        "",
        card.get("intended_use", INTENDED),
        "",
    ]
    lines += ["| | |", "|---|---|"]
    validation = card.get("validation")
    rows = {
        "network": f"{name} ({network})",
        "training": f"{card.get('steps', 0)} steps" if kind != "imported" else "",
        "learnt": ", ".join(card.get("target", [])),
        "classes": ", ".join(f"{k} {v}" for k, v in card.get("classes", {}).items()),
        "validation": f"{figure_of(card)} {validation:.4f}" if validation is not None else "",
        "image": _words(card.get("image_size", [])),
        "preparation": _recipe(card.get("recipe", {})),
        "cohort": card.get("cohort", ""),
        "licence": card.get("licence") or "not said: ask who made it before passing it on",
        "made with": ", ".join(f"{k} {v}" for k, v in card.get("versions", {}).items()),
        "weights (SHA-256)": card.get("weights_sha256", ""),
    }
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    if seen := card.get("counts"):
        lines += ["", "## What it has seen", "", "| part | scans | patients | modalities |",
                  "|---|---|---|---|"]  # fmt: skip
        for part, n in seen.items():
            kinds = ", ".join(f"{k} {v}" for k, v in n.get("modalities", {}).items())
            lines.append(
                f"| {part} | {n.get('scans', '')} | {n.get('patients', '')} | {_cell(kinds)} |"
            )
    lines += _figures(card.get("metrics") or {})
    lines += [
        "",
        "## Known limits",
        "",
        *[f"- {line}" for line in card.get("limits") or limits(card)],
    ]
    return "\n".join([*lines, ""])


def _figures(metrics: dict) -> list[str]:
    """Estimates with their intervals over patients."""
    rows = []
    for name, figure in metrics.items():
        if isinstance(figure, dict) and figure.get("estimate") is not None:
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
            n = figure.get("n_patients", "")
            rows.append(f"| {_cell(name)} | {figure['estimate']:.3f} | {interval} | {n} |")
    head = ["", "## Figures", "", "| | estimate | 95 % interval | patients |", "|---|---|---|---|"]
    return [*head, *rows] if rows else []


def _recipe(recipe: dict) -> str:
    known = {key: value for key, value in recipe.items() if key in Recipe.model_fields}
    return str(Recipe(**known)) if known else ""


def _words(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _cell(text) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def versions() -> dict[str, str]:
    names = ("medssl", "torch", "monai", "timm", "numpy")
    found = {name: _version(name) for name in names}
    return {"python": platform.python_version(), **found}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
