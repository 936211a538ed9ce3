import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from medssl.evaluation.collapse import (
    agreement,
    alarm,
    alignment,
    health,
    knn_known,
    quarters,
    uniformity,
)


def test_alive_point_and_line():
    torch.manual_seed(0)
    alive = health(torch.randn(400, 32))
    point = health(torch.ones(400, 32) + 1e-4 * torch.randn(400, 32))
    line = health(torch.randn(400, 1) * torch.ones(400, 32))
    assert alive["spread"] > 0.9 and alive["rank"] > 28 and alive["line"] < 0.1
    assert point["spread"] < 0.01 and point["rankme"] < 1.1 and point["rank"] > 28
    assert line["rank"] < 1.1 and line["line"] > 0.999
    assert health(torch.randn(1, 4)) == {}


def test_rank_counts_equal_directions():
    axes = torch.eye(4).repeat(50, 1)
    axes = torch.cat([axes, -axes])  # centred, the same spread along each of four axes
    found = health(torch.nn.functional.pad(axes, (0, 12)))
    assert abs(found["rank"] - 4) < 1e-3 and abs(found["rankme"] - 4) < 1e-3
    assert found["dead"] == 0.75


def test_diverged_features_are_reported_not_raised():
    found = health(torch.full((8, 4), float("nan")))
    assert all(math.isnan(value) for value in found.values())
    assert "not finite" in alarm([health(torch.randn(8, 4)), found])


def test_figures_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12)) @ rng.normal(size=(12, 12)) + 3
    y = x + 0.5 * rng.normal(size=x.shape)

    def entropy_rank(a):
        s = np.linalg.svd(a, compute_uv=False)
        p = s / s.sum()
        return np.exp(-(p * np.log(p)).sum())

    u, v = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, y))
    pairs = [np.exp(-2 * ((u[i] - u[j]) ** 2).sum()) for i in range(40) for j in range(i)]
    found = health(torch.from_numpy(x))
    energy = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    expected = {
        "rankme": entropy_rank(x),
        "rank": entropy_rank(x - x.mean(0)),
        "line": energy[0] / energy.sum(),
        "spread": u.std(0, ddof=1).mean() * np.sqrt(12),
        "norm": np.sort(np.linalg.norm(x, axis=1))[19],
        "dead": 0.0,
    }
    assert found == pytest.approx(expected, rel=1e-5)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    assert uniformity(x) == pytest.approx(np.log(np.mean(pairs)), rel=1e-5)
    assert alignment(x, y) == pytest.approx(((u - v) ** 2).sum(1).mean(), rel=1e-5)
    both = agreement(x, y)
    assert both["uniformity"] == pytest.approx((uniformity(x) + uniformity(y)) / 2)
    assert both["alignment"] == alignment(y, x)
    assert math.isnan(uniformity(x[:1]))


def test_dead_dimensions_are_found_though_most_are():
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    x[:, 4:] = 0.5 + 1e-5 * x[:, 4:]
    assert health(x)["dead"] == 0.75
    assert "no longer vary" in alarm([health(torch.randn(64, 16)), health(x)])


def test_position_is_told_by_other_patients_only():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 4).tolist()
    places = [0.1, 0.3, 0.6, 1.0] * 12
    assert quarters(places)[:4] == [0, 1, 2, 3]
    told = torch.from_numpy(np.eye(4)[quarters(places)] + 0.1 * rng.normal(size=(48, 4)))
    known = {"position": quarters(places), "modality": ["MR"] * 48}
    assert knn_known(told, known, patients) == {"knn_position": 1.0, "chance_position": 0.25}
    # Features that know the patient only: its own samples, if they counted, would say what is asked.
    people = np.repeat(np.arange(40), 4)
    own = torch.from_numpy(rng.normal(size=(40, 6))[people] + 0.01 * rng.normal(size=(160, 6)))
    kind = {"modality": np.array(["CT", "MR"] * 20)[people].tolist()}
    assert knn_known(own, kind, people.tolist(), k=3)["knn_modality"] < 0.8
    assert knn_known(told, known, [0] * 48) == {}
    some = knn_known(told, {"position": [*quarters(places)[:-1], None]}, patients)
    assert some["knn_position"] == 1.0 and some["chance_position"] == pytest.approx(12 / 47)
    assert math.isnan(knn_known(told * math.nan, known, patients)["knn_position"])


def test_neighbours_that_tell_nothing_three_times_in_a_row():
    good, bad = ({"knn_position": v, "chance_position": 0.25} for v in (0.9, 0.3))
    assert alarm([good, bad, bad]) == "" and alarm([good, bad, bad, good]) == ""
    assert "no longer tell position" in alarm([good, good, bad, bad, bad])
    assert alarm([bad] * 5) == ""  # there was nothing to lose


def test_nothing_to_compare_is_no_alarm():
    assert alarm([]) == "" and alarm([{"spread": 0.0}]) == ""
    assert alarm([{"spread": 0.3, "rank": 5.0}, {}]) == ""


# Real collapses and healthy runs of a small network on blobs at four heights.


def blobs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    height = torch.arange(n) % 4
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    across = 4 + 8 * torch.rand(n, 1, 1, generator=draw)
    radius = 2 + 1.5 * torch.rand(n, 1, 1, generator=draw)
    ball = torch.exp(-((y - 2 - 4 * height[:, None, None]) ** 2 + (x - across) ** 2) / radius**2)
    noise = 0.3 * torch.randn(n, 16, 16, generator=draw)
    return (ball * (1 + torch.rand(n, 1, 1, generator=draw)) + noise)[:, None], height


def network(norm: bool) -> nn.Sequential:
    def block(i, o):
        return nn.Sequential(
            nn.Conv2d(i, o, 3, 2, 1), nn.InstanceNorm2d(o, affine=True) if norm else nn.Identity(),
            nn.LeakyReLU(0.01),
        )  # fmt: skip

    features = [block(1, 16), block(16, 32), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(128, 32))


def attract(a, b, head, height):
    return -(normalize(a, dim=1) @ normalize(b, dim=1).T).mean()


def align(a, b, head, height):
    return -(normalize(a, dim=1) * normalize(b, dim=1)).sum(1).mean() + (a - 1).square().mean()


def along_one(a, b, head, height):
    return a[:, 1:].square().mean() + (a[:, 0].std() - 3).square()


def explode(a, b, head, height):
    return -a.square().mean()


def contrast(a, b, head, height):
    return cross_entropy(normalize(a, dim=1) @ normalize(b, dim=1).T / 0.2, torch.arange(len(a)))


def supervised(a, b, head, height):
    return cross_entropy(head(a), height)


def history_of(loss, norm: bool, seed: int, steps: int) -> list[dict]:
    torch.manual_seed(seed)
    net, head = network(norm), nn.Linear(32, 4)
    watched, height = blobs(64, 10**6)
    patients, found = np.repeat(np.arange(16), 4).tolist(), []

    def look():
        with torch.no_grad():
            x = net(watched)
        found.append({**health(x), **knn_known(x, {"position": height.tolist()}, patients)})

    look()
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], 3e-3)
    for step in range(steps):
        image, place = blobs(32, step)
        a, b = (net(image + 0.2 * torch.randn(image.shape)) for _ in range(2))
        optimiser.zero_grad()
        loss(a, b, head, place).backward()
        optimiser.step()
        if step % (steps // 3) == steps // 3 - 1:
            look()
    return found


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("loss", "words"),
    [(attract, "one point"), (align, "one point"), (along_one, "on a line"), (explode, "")],
)
def test_a_collapse_raises_the_alarm(loss, words, norm):
    history = history_of(loss, norm, seed=0, steps=120)
    found = alarm(history)
    assert found and words in found, history
    assert "optim.lr" in found


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("loss", [contrast, supervised])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_healthy_run_does_not(loss, norm, seed):
    history = history_of(loss, norm, seed, steps=60)
    for i in range(len(history)):
        assert alarm(history[: i + 1]) == "", history
