import math

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


def test_rank_counts_equal_directions():
    axes = torch.eye(4).repeat(50, 1)
    axes = torch.cat([axes, -axes])  # centred, the same spread along each of four axes
    assert abs(health(torch.nn.functional.pad(axes, (0, 12)))["rank"] - 4) < 1e-3


def test_diverged_features_are_reported_not_raised():
    found = health(torch.full((8, 4), float("nan")))
    assert math.isnan(found["spread"]) and math.isnan(found["rank"])
