"""Few labels after two stages without: global contrast, then local contrast, then fine-tuning.

medssl run global_local store=store out=gl

Stage one trains the encoder, stage two the first decoder blocks on it, and fine-tuning goes on from
both, on samples mixed two by two. Expect gl/finetuned/evaluation/report.html, with paired differences
from the same network and the same labels from scratch; for the hippocampus set about a quarter of an
hour on two cores.
"""

from pathlib import Path
from typing import Annotated

from medssl.stages import call


def main(
    store: Annotated[str, "folder that `medssl prepare` wrote"] = "store",
    out: Annotated[str, "folder for all that is written"] = "gl",
    labelled: Annotated[int, "scans to fine-tune on"] = 4,
    pretraining: Annotated[int, "steps without labels, of each stage"] = 200,
    steps: Annotated[int, "of fine-tuning"] = 150,
    mixup: Annotated[float, "alpha of Beta(alpha, alpha); 0: samples unmixed"] = 0.1,
    seed: Annotated[int, "of all draws"] = 0,
):
    out = Path(out)
    fit = {"steps": pretraining, "every": max(1, pretraining // 2), "seed": seed}
    encoder = call("pretrain", "global_contrast_small", store=store, out=out / "global", fit=fit)
    both = call(
        "pretrain", "local_contrast_small", store=store, start=encoder, out=out / "local", fit=fit
    )
    fit |= {"steps": steps, "every": max(1, steps // 2)}
    few = {"store": store, "backbone": both, "labelled": labelled, "fit": fit}
    few["task"] = {"mixup": mixup}
    scratch = call("finetune", "few_labels", **few, from_scratch=True, out=out / "scratch")
    tuned = call("finetune", "few_labels", **few, decoder=True, out=out / "finetuned")
    return call("evaluate", run=tuned, baseline=call("evaluate", run=scratch))
