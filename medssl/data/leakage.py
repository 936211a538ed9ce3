"""The guard: a patient seen in training cannot slip unseen into a test set.

A card keeps, for every part a model was trained or chosen on, the salted ids of its patients and of its
scans the fingerprints of their files, of their pixels and of what they look like. Ids recognise a
patient by any scan. Fingerprints need no key: equal files or pixels are a scan under another name, in
another format, with another header, and refused like its patient; what only looks alike (encoded or
resampled anew) is listed, for the user to decide.
"""

import pandas as pd

from medssl.data.likeness import near
from medssl.data.paths import listed
from medssl.data.patients import pseudonym
from medssl.errors import UserError
from medssl.progress import say

PARTS = ("pretrain", "train", "validation")
# What a card keeps of a scan, and where an item has it: the files' bytes, the pixels, the looks.
KEPT = {"patients": "patient", "scans": "source", "pixels": "pixels", "looks": "likeness"}
LOOK_ALIKE = ("scan", "patient", "part", "bits")


def record(*parents: dict, **parts: pd.DataFrame) -> dict[str, dict]:
    """What a card keeps of the items of each part.

    What its parents were trained on counts as `pretrain`, what they were chosen on as `validation`.
    """
    kept = {}
    for name, column in KEPT.items():
        found = {part: set(items[column]) for part, items in parts.items()}
        for part, ids in (each for parent in parents for each in parent.get(name, {}).items()):
            found.setdefault(part if part == "validation" else "pretrain", set()).update(ids)
        kept[name] = {part: sorted(ids) for part, ids in found.items()}
    return {**kept, "patient_key": _key_mark()}


def overlap(card: dict, items: pd.DataFrame, parts=PARTS) -> dict[str, list[str]]:
    """Salted ids of the patients among `items` that a card has seen, by part; empty ones left out.

    Says so when the card's ids were made with another key, and only equal scans can be recognised.
    """
    if card.get("patients") and card.get("patient_key") != _key_mark():
        say(
            "remark: this model's patients were named with another key; only scans whose files or "
            "pixels are the same can be recognised"
        )
    found = {}
    for part in parts:
        known, copied = (
            _seen(card, items, part, *names) for names in (["patients"], ["scans", "pixels"])
        )
        copied &= ~known
        if copied.any():
            ids = listed(list(map(str, items.index[copied])), 3)
            say(f"remark: known by their files or pixels, under other patients, in {part}: {ids}")
        found[part] = sorted(set(items["patient"][known | copied]))
    return {part: who for part, who in found.items() if who}


def look_alikes(card: dict, items: pd.DataFrame, parts=PARTS) -> pd.DataFrame:
    """Items that look like a scan a card has seen, and are not known by id, files or pixels: scan,
    patient, part, and the bits (of 256) in which they differ. Says how many."""
    rows = []
    for part in parts:
        unknown = items[~_seen(card, items, part, "patients", "scans", "pixels")]
        pairs = near(list(unknown["likeness"]), list(card.get("looks", {}).get(part, [])))
        rows += [(unknown.index[i], unknown["patient"].iloc[i], part, bits) for i, _, bits in pairs]
    found = pd.DataFrame(rows, columns=list(LOOK_ALIKE)).sort_values("bits", ignore_index=True)
    if len(found):
        ids = ", ".join(map(str, found["scan"][:3]))
        say(f"remark: {len(found)} scans look like one that was seen before ({ids}): copies encoded or "
            "resampled anew, or pictures of one kind; look at them")  # fmt: skip
    return found


def _seen(card: dict, items: pd.DataFrame, part: str, *names: str) -> pd.Series:
    known = [items[KEPT[name]].isin(card.get(name, {}).get(part, [])) for name in names]
    return pd.concat(known, axis=1).any(axis=1)


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
