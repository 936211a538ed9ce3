"""The whole chain, from scans to weights in other libraries and back, with no socket to be had."""

import subprocess
import sys

import pytest

CHAIN = """
import sys


def offline(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        print("NETWORK", event, arguments, flush=True)
        raise RuntimeError(f"network: {event}")


sys.addaudithook(offline)

from pathlib import Path

from medssl.stages import call

scans, out = Path(sys.argv[1]), Path(sys.argv[2])
tiny, fit = {"name": "res_unet", "channels": [4, 8, 8]}, {"steps": 2, "batch_size": 2, "every": 1}
call("index", scans=scans / "images", labels=[scans / "labels", scans / "splits.csv"], modality="MR",
     out=out / "m")
store = call("prepare", "mr_crop", manifest=out / "m", out=out / "store",
             recipe={"spacing": [1.2, 1.2, 1.2]})
run = call("pretrain", "voco_small", store=store, out=out / "voco", backbone=tiny,
           method={"size": [16, 16, 16], "width": 16}, fit=fit)
call("probe", run=run, store=store, probes=["knn"])
call("embed", run=run, store=store, k=2, queries=2)
for to in ("torch", "hub", "monai"):
    call("export", run=run, to=to)
for to in ("hub", "monai"):
    call("import", weights=run / "export" / to, backbone=tiny, store=store, out=out / f"from {to}")
tuned = call("finetune", "few_labels", store=store, backbone=out / "from hub", out=out / "tuned",
             classes={1: "ball"}, task={"size": [16, 16, 16], "width": 4}, fit=fit)
call("evaluate", run=tuned, resamples=100)
call("predict", run=tuned, scans=scans / "images/case_9.nii.gz", out=out / "predicted")
call("backbones", network="resenc")
print("done")
"""


@pytest.mark.slow
def test_the_whole_chain_opens_no_socket(cohort, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CHAIN, str(cohort), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "NETWORK" not in done.stdout and done.stdout.rstrip().endswith("done")
    ledger = (tmp_path / "from monai/ledger.csv").read_text()
    assert "loaded" in ledger and "missing" not in ledger
