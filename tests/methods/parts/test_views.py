import torch

from medssl.methods.parts.views import view_seeds


def test_every_view_has_its_own_seed_that_follows_from_the_sample_s():
    seeds = torch.tensor([1, 2, 2**62])
    drawn = view_seeds(seeds, 3)
    assert drawn.shape == (3, 3) and len(drawn.unique()) == 9 and drawn.dtype == torch.int64
    assert torch.equal(view_seeds(seeds[1:], 2), drawn[:2, 1:])
    assert not torch.isin(drawn, seeds).any()
