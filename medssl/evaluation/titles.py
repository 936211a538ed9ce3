"""What figures are called where people read them; files keep the short names."""

MEASURES = {
    "nsd": "NSD", "hd95_mm": "HD95 in mm", "lesion_sensitivity": "Sensitivity to lesions",
    "lesion_f1": "F1 of lesions", "brier": "Brier score",
    "auroc": "AUROC", "auprc": "AUPRC",
    "balanced_accuracy": "Balanced accuracy", "map": "mAP at IoU 0.5 to 0.95",
    "froc_mean": "Mean sensitivity at 1/8 to 8 false a scan",
}  # fmt: skip


def title(name: str) -> str:
    """dice, liver -> Dice, liver; nsd -> NSD. What is behind the comma stays as it is."""
    measure, comma, of = name.partition(", ")
    words = measure.replace("_", " ")
    words = words.replace("ap at", "AP at") if words.startswith("ap at") else words.capitalize()
    return MEASURES.get(measure, words) + comma + of


def sentence(remark: str) -> str:
    """A remark, which is written to stand behind a word, as a sentence of its own."""
    return f"{remark[:1].upper()}{remark[1:]}."
