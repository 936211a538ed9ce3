"""What ranks have in common, tried in two processes: order, gradients, norms, errors."""

import torch
from torch import distributed, multiprocessing, nn

from medssl import ranks
from medssl.errors import UserError

WORLD = 2


def in_ranks(check, folder):
    """Run check(rank) in two processes; an assertion that fails in one fails here."""
    multiprocessing.spawn(_joined, (check, f"file://{folder}/meet"), WORLD)


def _joined(rank, check, address):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", address, rank=rank, world_size=WORLD)
    check(rank)
    distributed.destroy_process_group()


def own(x, rank):
    return x.chunk(WORLD)[rank]


def whole(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_one_process_is_left_alone():
    x = whole(4, 3)
    assert ranks.world() == 1 and ranks.rank() == 0 and ranks.gathered(x) is x
    assert ranks.averaged({"a": 2.0}) == {"a": 2.0} and ranks.anywhere(True)
    assert ranks.share(5) == range(5) and ranks.from_first(lambda: 3) == 3
    norm = nn.BatchNorm1d(3)
    assert type(ranks.synchronise(nn.Sequential(norm))[0]) is nn.BatchNorm1d


def test_two_ranks_agree_with_one(tmp_path):
    in_ranks(_everything, tmp_path)


def _everything(rank):
    assert ranks.world() == WORLD and ranks.rank() == rank
    _gathers(rank)
    _norms(rank)
    _speaks(rank)


def _gathers(rank):
    """Rows come back in the order of the whole batch, view by view, and gradients are those of it."""
    x = whole(2, 6, 3)  # two views of six samples
    mine = torch.cat([own(view, rank) for view in x])
    assert torch.equal(ranks.gathered(mine, views=2), x.flatten(0, 1))
    asked = torch.tensor([True, False]).roll(rank)
    assert ranks.gathered(asked).tolist() == [True, False, False, True]

    def loss(z):
        return (z @ z.T).exp().mean()

    weight = whole(3, 2).requires_grad_()
    loss(x[0] @ weight).backward()
    expected, weight.grad = weight.grad, None
    loss(ranks.gathered(own(x[0], rank) @ weight)).backward()
    distributed.all_reduce(weight.grad)
    assert torch.allclose(weight.grad / WORLD, expected, rtol=1e-12)
    assert torch.allclose(ranks.total(own(x[0], rank).sum()), x[0].sum())


def _norms(rank):
    """Batch norm over both halves of a batch is that over the batch."""
    for kind, x in ((nn.BatchNorm1d, whole(6, 3)), (nn.BatchNorm3d, whole(6, 3, 2, 3, 2))):
        for options in ({}, {"affine": False, "track_running_stats": False}, {"momentum": None}):
            plain = kind(3, **options).double()
            shared = ranks.synchronise(nn.Sequential(kind(3, **options).double()))[0]
            assert shared.state_dict().keys() == plain.state_dict().keys()
            a, b = x.clone().requires_grad_(), own(x, rank).clone().requires_grad_()
            y, z = plain(a), shared(b)
            assert torch.allclose(z, own(y, rank), atol=1e-12)
            y.pow(3).sum().backward()
            z.pow(3).sum().backward()
            assert torch.allclose(b.grad, own(a.grad, rank), atol=1e-10)
            for name, value in plain.named_buffers():
                assert torch.allclose(dict(shared.named_buffers())[name], value, atol=1e-12), name
            if options.get("track_running_stats", True):
                rest = own(x, rank)
                assert torch.allclose(shared.eval()(rest), plain.eval()(rest))


def _speaks(rank):
    assert ranks.averaged({"a": 1.0 + rank, "b": 4.0}) == {"a": 1.5, "b": 4.0}
    assert ranks.anywhere(rank == 1) and not ranks.anywhere(False)
    assert ranks.from_first(lambda: f"of rank {rank}") == "of rank 0"
    assert list(ranks.share(6)) == ([0, 1, 2], [3, 4, 5])[rank]

    def refuse():
        raise UserError("LOCKED", "run", "is held", "wait")

    for wrong, told in (
        (lambda: ranks.from_first(refuse), "LOCKED run: is held. Fix: wait"),
        (lambda: ranks.share(5), "5 samples cannot be shared out evenly among 2 ranks"),
        (lambda: ranks.check_same("store", str(rank)), "store: is another on rank 1"),
    ):
        try:
            wrong()
        except UserError as error:
            assert told in str(error)
        else:
            raise AssertionError(told)
    ranks.check_same("store", "same")

    class Odd(nn.modules.batchnorm._BatchNorm):
        pass

    try:
        ranks.synchronise(nn.Sequential(Odd(3)))
    except UserError as error:
        assert "Odd: is a batch norm that has no form" in str(error)
    else:
        raise AssertionError("an unknown norm was taken")
