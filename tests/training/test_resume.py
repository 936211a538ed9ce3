"""What is said when a run goes on in another way than it began, and what is refused."""

import pytest
import torch

from medssl.errors import UserError
from medssl.training import checkpoint
from medssl.training.log import read_jsonl
from medssl.training.resume import resume
from tests.training.test_loop import Line, train


def of_another_kind(folder, **what):
    """Change what the checkpoint says of the run that made it."""
    train(folder, steps=20)
    weights, trainer = checkpoint.load_state(folder / "checkpoints")
    checkpoint.save_state(folder / "checkpoints", 20, weights, {**trainer, **what})


@pytest.mark.parametrize("sharded", [True, False])
def test_another_order_of_sums_is_told(tmp_path, capsys, sharded):
    of_another_kind(tmp_path, sharded=sharded)
    capsys.readouterr()
    train(tmp_path, steps=40)
    told = "remark: the run had fit.shard=true: sums are added up in another order"
    assert (told in capsys.readouterr().err) == sharded


def test_other_ranks_are_refused_unless_asked_for(tmp_path):
    of_another_kind(tmp_path, ranks=2)
    with pytest.raises(UserError, match="RANKS step 20: the run had 2 ranks, now there are 1"):
        train(tmp_path, steps=40)
    train(tmp_path, steps=40, other_ranks=True)
    assert {"step": 20, "ranks": 1.0} in read_jsonl(tmp_path / "metrics.jsonl")


def test_a_checkpoint_of_before_there_was_sharding_is_taken(tmp_path):
    train(tmp_path, steps=20)
    weights, trainer = checkpoint.load_state(tmp_path / "checkpoints")
    del trainer["sharded"]
    checkpoint.save_state(tmp_path / "checkpoints", 20, weights, trainer)
    module = Line()
    optimizer = torch.optim.AdamW(module.parameters())
    assert resume(tmp_path, module, optimizer, None, None, None, False) == (20, False, 1)
    assert torch.equal(module.state_dict()["backbone.weight"], weights["backbone.weight"])
