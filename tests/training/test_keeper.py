"""What a run keeps, and when; kills amid it are in test_kills.py, signals in test_signals.py."""

import os

import torch

from medssl.training import checkpoint
from tests.training.test_loop import train


def test_averaged_weights_are_seen_at_moments_and_trained_ones_go_on(tmp_path):
    module, moments = train(tmp_path, ema=0.9)
    plain, plain_moments = train(tmp_path / "plain")
    assert moments[0][1] != plain_moments[0][1]
    assert torch.allclose(module.backbone.weight, plain.backbone.weight)


def test_no_checkpoint_is_newer_than_its_log(tmp_path, monkeypatch):
    flushed, sync, save = {}, os.fsync, checkpoint.save_state

    def noted(handle):
        sync(handle)
        flushed[os.fstat(handle).st_ino] = os.fstat(handle).st_size

    def checked(*args):
        for log in (tmp_path / "metrics.jsonl", tmp_path / "timing.jsonl"):
            assert flushed[log.stat().st_ino] == log.stat().st_size
        return save(*args)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(checkpoint, "save_state", checked)
    train(tmp_path)
    assert (tmp_path / "checkpoints/step-00000060").exists()
