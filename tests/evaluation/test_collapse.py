import torch

from medssl.evaluation.collapse import health


def test_alive_point_and_line():
    torch.manual_seed(0)
    alive = health(torch.randn(400, 32))
    point = health(torch.ones(400, 32) + 1e-4 * torch.randn(400, 32))
    line = health(torch.randn(400, 1) * torch.ones(400, 32))
    assert alive["spread"] > 0.9 and alive["rank"] > 28
    assert point["spread"] < 0.01
    assert line["rank"] < 1.1
    assert health(torch.randn(1, 4)) == {}
