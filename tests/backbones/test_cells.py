import torch

from medssl.backbones.cells import Put


def test_put_has_the_gradients_of_a_copy_by_number():
    rows = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    fill = torch.randn(2, dtype=torch.double, requires_grad=True)
    numbers = torch.tensor([4, 0, 3])
    out = Put.apply(rows, fill, numbers, 6)
    assert torch.equal(out[numbers], rows) and torch.equal(out[[1, 2, 5]], fill.expand(3, 2))
    assert torch.autograd.gradcheck(lambda r, f: Put.apply(r, f, numbers, 6), (rows, fill))
