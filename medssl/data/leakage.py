"""The guard: a patient seen in training cannot slip unseen into a test set.

A card keeps, for every part a model was trained or chosen on, the salted ids of its patients and
the fingerprints of its scans' files. Ids recognise a patient by any scan; fingerprints recognise a
scan under any name, also where another key made the ids, as long as its bytes are the same.
"""

import pandas as pd

from medssl.data.patients import pseudonym
from medssl.errors import UserError
from medssl.progress import say

PARTS = ("pretrain", "train", "validation")


def record(parent: dict, **parts: pd.DataFrame) -> dict[str, dict]:
    """What a card keeps of the items of each part.

    What its parent was trained on counts as `pretrain`, what it was chosen on as `validation`.
    """
    patients, scans = {}, {}
    for part, items in parts.items():
        patients[part], scans[part] = set(items["patient"]), set(items["source"])
    for kept, seen in ((patients, "patients"), (scans, "scans")):
        for part, ids in parent.get(seen, {}).items():
            kept.setdefault(part if part == "validation" else "pretrain", set()).update(ids)
    return {
        "patients": {part: sorted(ids) for part, ids in patients.items()},
        "scans": {part: sorted(ids) for part, ids in scans.items()},
        "patient_key": _key_mark(),
    }


def overlap(card: dict, items: pd.DataFrame, parts=PARTS) -> dict[str, list[str]]:
    """Salted ids of the patients among `items` that a card has seen, by part; empty ones left out.

    Says so when the card's ids were made with another key, and only equal files can be recognised.
    """
    if card.get("patients") and card.get("patient_key") != _key_mark():
        say(
            "remark: this model's patients were named with another key; only scans whose files are "
            "the same byte for byte can be recognised"
        )
    found = {}
    for part in parts:
        known = items["patient"].isin(card.get("patients", {}).get(part, []))
        copied = items["source"].isin(card.get("scans", {}).get(part, [])) & ~known
        if copied.any():
            ids = ", ".join(map(str, items.index[copied][:3]))
            say(
                f"remark: known by the bytes of their files, under other patients, in {part}: {ids}"
            )
        found[part] = sorted(set(items["patient"][known | copied]))
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


def _key_mark() -> str:
    """Tells one patient key from another, and nothing else."""
    return pseudonym("which key", "k")
