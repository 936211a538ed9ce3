"""The guard: a patient seen in training cannot slip unseen into a test set."""

from medssl.errors import UserError


def overlap(
    card: dict, patients, parts=("pretrain", "train", "validation")
) -> dict[str, list[str]]:
    """Salted ids of `patients` that a checkpoint's card has seen, by part; empty parts left out."""
    seen = card.get("patients", {})
    found = {part: sorted(set(seen.get(part, [])) & set(patients)) for part in parts}
    return {part: who for part, who in found.items() if who}


def refuse_overlap(found: dict[str, list[str]], where: object, allow: bool) -> None:
    """Raise UserError naming how many patients and the first few, unless told to go on."""
    if not found or allow:
        return
    parts = "; ".join(f"{len(w)} seen in {p} ({', '.join(w[:3])})" for p, w in found.items())
    raise UserError(
        "LEAKAGE", where, f"held-out patients were used before: {parts}",
        "take them out of one side, or go on with allow_overlap=true; every figure is then marked",
    )  # fmt: skip
