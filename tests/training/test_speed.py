"""Equal results whatever makes a step faster or smaller; how much faster is measured in tests/benchmarks."""

import contextlib
import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.methods.simmim import SimMIM
from medssl.training import optim, speed
from medssl.training.checkpoint import load_state
from medssl.training.durable import sha256
from medssl.training.log import read_jsonl
from medssl.training.loop import Fit, fit
from medssl.training.optim import Optim
from tests.training.test_loop import Line

STEPS = 3


def method(depth=3, drop_path=0.4):
    torch.manual_seed(0)
    options = {"patch": 4, "width": 24, "depth": depth, "heads": 2, "drop_path": drop_path}
    vit = build("vit", in_channels=1, ndim=2, **options)
    return SimMIM(vit, lambda image, seeds: image, size=[16, 16], cell=[4, 4])


def batches(first, last):
    for i in range(first, last):
        image = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(i))
        yield {"image": image, "seed": torch.arange(4) + i}


def train(folder, module=None, **options):
    module = module or method()
    settings = Fit(steps=STEPS, batch_size=4, every=STEPS, device="cpu", **options)
    for _ in fit(module, batches, settings, Optim(lr=1e-2), folder):
        pass
    return folder / f"checkpoints/step-{STEPS:08d}/weights.safetensors"


def test_training_with_activations_made_again_ends_in_the_same_bits(tmp_path):
    plain, anew = train(tmp_path / "a"), train(tmp_path / "b", checkpointing=True)
    assert sha256(plain) == sha256(anew)


def test_a_backbone_that_cannot_is_refused_by_name(tmp_path):
    settings = Fit(steps=1, device="cpu", checkpointing=True)
    with pytest.raises(UserError, match="fit.checkpointing: Linear has no way"):
        next(fit(Line(), batches, settings, Optim(), tmp_path))


@pytest.mark.slow
def test_a_compiled_backbone_trains_alike_under_the_same_names(tmp_path):
    """But for what is drawn at random inside: a compiler draws otherwise."""
    for name, compiled in (("a", False), ("b", True)):
        train(tmp_path / name, method(1, 0.0), compile=compiled)
    (plain, _), (compiled, _) = (load_state(tmp_path / name / "checkpoints") for name in "ab")
    assert plain.keys() == compiled.keys()
    losses = [[r["loss"] for r in read_jsonl(tmp_path / name / "metrics.jsonl")] for name in "ab"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and len(losses[0]) == STEPS


def test_a_cpu_without_a_compiler_is_told(monkeypatch):
    monkeypatch.setattr(speed.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="needs a C[+][+] compiler"):
        speed.compile_backbone(nn.Linear(1, 1), torch.device("cpu"))


def test_one_kernel_for_all_weights_gives_the_same_weights():
    """Asked for on a GPU alone; a CPU has it too, and shows that it means the same."""
    modules = [Line(), Line()]
    for module, fused in zip(modules, (False, True), strict=True):
        optimizer = optim.build(module, Optim(lr=0.1), fused)
        for _ in range(5):
            module.training_step({"image": torch.ones(2, 1)}, 0).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.allclose(modules[0].backbone.weight, modules[1].backbone.weight, rtol=1e-6)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert speed.fused(cuda, "bf16-mixed") and not speed.fused(cpu, "bf16-mixed")
    assert not speed.fused(cuda, "16-mixed")  # whose scaler and clipping need the gradients before


def test_only_a_gpu_s_batches_are_read_one_ahead_and_all_arrive_in_order(monkeypatch):
    """The streams of a GPU are played; that copies overlap is not shown here."""
    read, waited = [], []

    def stream():
        for i in range(4):
            read.append(i)
            yield {"number": i}

    class Stream:
        def __init__(self, *_):
            self.events = itertools.count()

        def record_event(self):
            return next(self.events)

        def wait_event(self, event):
            waited.append(event)

    def fabric(kind):
        return SimpleNamespace(
            device=torch.device(kind), to_device=lambda batch: batch | {"on": kind}
        )

    for i, batch in enumerate(speed.on_device(stream(), fabric("cpu"))):
        assert batch == {"number": i, "on": "cpu"} and read == list(range(i + 1))
    read.clear()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    found = []
    for i, batch in enumerate(speed.on_device(stream(), fabric("cuda"))):
        found.append(batch["number"])
        assert batch["on"] == "cuda" and read == list(range(min(i + 2, 4)))
    assert found == waited == [0, 1, 2, 3]


def test_tf32_is_for_gpus_and_can_be_turned_off(monkeypatch):
    before = torch.get_float32_matmul_precision()
    try:
        speed.allow_tf32(True)
        assert torch.get_float32_matmul_precision() == "high"
        speed.allow_tf32(False)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    "found, remark", [({"avx2": True, "avx512_bf16": False}, True), ({"amx_bf16": True}, False)]
)
def test_bfloat16_on_a_cpu_without_it_is_remarked_on(found, remark, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    train(tmp_path / "auto")
    assert "bfloat16" not in capsys.readouterr().err
    train(tmp_path / "asked", precision="bf16-mixed")
    assert ("no bfloat16 arithmetic" in capsys.readouterr().err) is remark
