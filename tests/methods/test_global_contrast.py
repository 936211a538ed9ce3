"""Property checks of global contrast."""

import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.global_contrast import GlobalContrast, contrast, cosines, others

SIZES = {2: [16, 8], 3: [8, 16, 8]}
FORMS = ["distinct", "random", "positive"]
VIEWS = {"distinct": ["x", "a1", "a2"], "random": ["a1", "a2"], "positive": ["x", "a"]}
S = 3


def varied(image, seeds, **_):
    """A view that differs with its seed alone."""
    draws = [torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(s)) for s in
             seeds.tolist()]  # fmt: skip
    return image + 0.3 * torch.stack(draws)


def make(form="distinct", ndim=3, augment=varied, **options):
    torch.manual_seed(0)
    backbone = ResUNetEncoder(2, channels=[4, 8], ndim=ndim)
    options = {"size": SIZES[ndim], "parts": S, "form": form, "hidden": 16, "width": 8} | options
    return GlobalContrast(backbone, augment, **options)


def batch(method, items=(3, 4, 5), seed=0):
    b, s = len(items), method.crops.parts
    draw = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(b, s, 2, *method.size, generator=draw) + 1,
        "part": torch.arange(s).expand(b, s),
        "place": ((torch.arange(s) + 0.5) / s).expand(b, s),
        "item": torch.tensor(items),
        "seed": torch.arange(b) + 10,
    }


def golden(z, b, form, other, temperature):
    """The paper's sums, term by term, in float64; z (V * B * S, D), `other` the j of every i."""
    z = z.double().numpy()
    views = VIEWS[form]
    place = {(v, i, s): (k * b + i) * S + s for k, v in enumerate(views) for i in range(b)
             for s in range(S)}  # fmt: skip

    def alike(p, q):
        return z[p] @ z[q] / np.linalg.norm(z[p]) / np.linalg.norm(z[q]) / temperature

    def term(one, two):
        total = np.exp(alike(place[one], place[two]))
        for key, row in place.items():
            if (key[1:] != one[1:]) if form == "random" else (key[2] != one[2]):
                total += np.exp(alike(place[one], row))
        return -np.log(np.exp(alike(place[one], place[two])) / total)

    loss, count = 0.0, 0
    for i in range(b):
        for s in range(S):
            if form == "positive":
                j = other[i]
                pairs = [("x", i, "a", i), ("x", i, "x", j), ("x", j, "a", j), ("a", i, "a", j)]
            else:
                pairs = [(u, i, v, i) for n, u in enumerate(views) for v in views[n + 1 :]]
            for u, p, v, q in pairs:
                loss += term((u, p, s), (v, q, s)) + term((v, q, s), (u, p, s))
                count += 1
    return loss / count, count


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("form, terms", [("distinct", 6), ("random", 2), ("positive", 8)])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_loss_against_numpy_in_float64(form, terms, ndim, temperature):
    method = make(form, ndim, temperature=temperature)
    data = batch(method, items=(3, 3, 7, 5))  # one scan twice: it is never its own other
    z, pairs, _, _ = method._compared(data)
    expected, count = golden(z.detach(), 4, form, [2, 2, 3, 0], temperature)
    assert float(method.training_step(data, 0).loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert 2 * len(pairs) == 2 * count == terms * 4 * S


@pytest.mark.parametrize("form", FORMS)
def test_negatives_are_all_other_partitions_and_never_the_anchor(form):
    method = make(form)
    data = batch(method)
    _, pairs, negatives, _ = method._compared(data)
    views = len(VIEWS[form])
    rows = [(i, s) for _ in range(views) for i in range(3) for s in range(S)]
    for a, (i, s) in enumerate(rows):
        for n, (j, t) in enumerate(rows):
            wanted = (i, s) != (j, t) if form == "random" else s != t
            assert bool(negatives[a, n]) == wanted
    assert not negatives[pairs[:, 0], pairs[:, 1]].any()  # a positive is in the denominator once


def test_positives_of_the_third_form_are_the_same_partition_of_another_scan():
    method = make("positive")
    items = (3, 3, 7, 5)
    _, pairs, _, _ = method._compared(batch(method, items))
    rows = [(v, items[i], i, s) for v in "xa" for i in range(4) for s in range(S)]
    between = 0
    for p, q in pairs.tolist():
        (u, scan, i, s), (v, scan2, j, t) = rows[p], rows[q]
        assert s == t and (u != v if i == j else scan != scan2 and u == v)
        between += i != j
    assert between == 2 * 4 * S


def test_other_scans_are_never_the_same_scan_and_a_lone_scan_is_told():
    assert others(torch.tensor([3, 3, 7, 5]), torch.arange(4), 1)[:, 0].tolist() == [2, 2, 3, 0]
    assert others(torch.tensor([3, 7, 7, 5]), torch.arange(4), 2).tolist() == [
        [1, 3],
        [3, 0],
        [3, 0],
        [0, 1],
    ]
    for items in ([4], [4, 4, 4]):
        with pytest.raises(UserError, match=r"fit\.batch_size.*holds 1 different.*batch_size=3"):
            others(torch.tensor(items), torch.arange(len(items)), 1)
    method = make("positive")
    with pytest.raises(UserError, match=r"fit\.batch_size"):
        method.training_step(batch(method, items=(4, 4)), 0)


@pytest.mark.parametrize("form", FORMS)
def test_every_row_is_an_image_and_every_view_differs(form):
    method = make(form)
    data = batch(method)
    images = method._compared(data)[3]
    assert images.shape == (len(VIEWS[form]) * 3 * S, 2, *method.size)
    assert (images.flatten(1).abs().amax(1) > 0).all()
    assert len(images.flatten(1).unique(dim=0)) == len(images)
    if VIEWS[form][0] == "x":
        assert torch.equal(images[: 3 * S], data["image"].flatten(0, 1))


def test_views_are_random_resized_crops_of_the_share_asked_for():
    seen = []

    def augment(image, seeds, **options):
        seen.append((options, seeds.tolist()))
        return image

    method = make(augment=augment, crop=[0.2, 0.5])
    method.training_step(batch(method), 0)
    assert [options for options, _ in seen] == [{"crop": (0.2, 0.5)}] * 2
    assert len({seed for _, seeds in seen for seed in seeds}) == 2 * 3 * S


def test_all_alike_gives_the_logarithm_of_the_choices_and_norms_do_not_matter():
    negatives = torch.tensor([0, 0, 1, 1, 2])[:, None] != torch.tensor([0, 0, 1, 1, 2])
    pairs = torch.tensor([[0, 1], [2, 3]])
    alike = contrast(torch.ones(5, 4), pairs, negatives, 0.1)
    assert float(alike) == pytest.approx(2 * np.log(1 + 3), rel=1e-6)
    z = torch.randn(5, 4)
    scaled = z * torch.tensor([1.0, 9, 0.2, 3, 50])[:, None]
    assert torch.allclose(
        contrast(z, pairs, negatives, 0.1), contrast(scaled, pairs, negatives, 0.1), atol=1e-5
    )


def test_random_form_is_nt_xent():
    method = make("random")
    z, pairs, negatives, _ = method._compared(batch(method))
    n = len(z) // 2
    logits = (cosines(z, z) / 0.1).fill_diagonal_(-torch.inf)
    target = torch.arange(2 * n).roll(n)
    expected = 2 * torch.nn.functional.cross_entropy(
        logits, target
    )  # mean of both directions, once
    assert torch.allclose(contrast(z, pairs, negatives, 0.1), expected, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_scans_does_not_matter(form):
    method = make(form)
    data, turn = batch(method, (3, 4, 5, 6)), torch.tensor([2, 0, 3, 1])
    turned = {name: value[turn] for name, value in data.items()}
    losses = [method.training_step(d, 0).loss for d in (data, turned)]
    assert torch.allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_every_weight_gets_a_gradient(form, ndim):
    method = make(form, ndim)
    method.training_step(batch(method), 0).loss.backward()
    silent = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not silent


def test_the_loss_is_computed_in_float32_under_autocast():
    z, pairs = torch.randn(6, 16), torch.tensor([[0, 1], [2, 3]])
    negatives = (torch.arange(6) // 2)[:, None] != torch.arange(6) // 2
    plain = contrast(z, pairs, negatives, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrast(z, pairs, negatives, 0.1), plain)
        data = batch(method := make())
        assert method.training_step(data, 0).loss.dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
def test_partitions_are_told_apart_after_some_steps(form):
    method = make(form, 2, augment=augmenter(Augment(), (-5.0, 5.0)), crop=[0.8, 1.0])
    data = batch(method, (3, 4, 5, 6))
    waves = torch.linspace(0, 6, method.size[0])[:, None] * torch.arange(1, S + 1)[:, None, None]
    data["image"] = data["image"] * 0.2 + waves.sin()[None, :, None]
    optimizer = torch.optim.AdamW(method.parameters(), 1e-2)
    losses, apart = [], []
    for step in range(30):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(float(out.loss.detach()))
        apart.append(out.logs["positive"] - out.logs["negative"])
    assert losses[-1] < 0.9 * losses[0] and apart[-1] > apart[0]


@pytest.mark.parametrize("form", FORMS)
def test_pictures_ask_what_the_loss_asks(form):
    method = make(form).eval()
    picture = method.pictures(batch(method), 0)[0]
    assert len(picture["rows"]) == len(picture["columns"]) == 2 * S
    assert picture["rows"][0].shape == tuple(method.size)
    asked, same = picture["asked"], np.arange(2 * S)[:, None] % S == np.arange(2 * S) % S
    own = np.eye(2 * S, dtype=bool)
    assert picture["values"].shape == asked.shape and np.abs(picture["values"]).max() < 1 + 1e-5
    assert (asked[own] == 1).all() and (asked[~same] == 0).all()
    rest = asked[same & ~own]
    assert (rest == 0).all() if form == "random" else np.isnan(rest).all()


def test_bad_options_are_refused():
    with pytest.raises(UserError, match=r"method\.parts"):
        make(parts=1)
    with pytest.raises(UserError, match=r"method\.crop"):
        make(crop=[0.5, 0.2])
    with pytest.raises(UserError, match=r"method\.size"):
        make(size=[7, 8, 8])
