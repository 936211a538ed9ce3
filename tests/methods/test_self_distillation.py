"""Property checks of self-distillation; what it shares with MAE is checked there."""

import copy

import numpy as np
import pytest
import torch

from medssl.backbones.base import build, pool
from medssl.errors import UserError
from medssl.methods.mae import MAE
from medssl.methods.self_distillation import SelfDistillation, distillation_loss

CASES = {
    "2d": (dict(ndim=2, patch=[4, 8]), (16, 24)),
    "3d": (dict(ndim=3, patch=[4, 4, 2]), (8, 12, 6)),
}
OPTIONS = dict(decoder_width=24, decoder_heads=2)


def keep(image, seeds, **_):
    return image


def network(case, seed, channels=1, **more):
    torch.manual_seed(seed)
    options = {**CASES[case][0], "width": 24, "depth": 2, "heads": 2, **more}
    return build("vit", in_channels=channels, **options)


def make(case, teacher=None, **options):
    torch.manual_seed(1)
    size = CASES[case][1]
    method = SelfDistillation(network(case, 0), keep, size=list(size), **OPTIONS, **options)
    if teacher is not None:
        method.learn_from(teacher)
    return method.train()


def batch(case, n=3):
    image = torch.randn(n, 1, *CASES[case][1], generator=torch.Generator().manual_seed(2))
    return {"image": image, "seed": torch.arange(n) + 10}


def test_loss_against_numpy_in_float64():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 8)), rng.normal(2, 1, size=(3, 8))
    expected = ((a - b) ** 2).sum(1).mean()
    found = distillation_loss(*map(torch.from_numpy, (a, b)))
    assert float(found) == pytest.approx(expected, rel=1e-6) and found.dtype == torch.float32


@pytest.mark.parametrize("case", CASES)
def test_a_copy_of_the_student_teaches_nothing(case):
    """With a teacher of the same weights the loss and its gradients are those of MAE."""
    method, data = make(case), batch(case)
    method.learn_from(copy.deepcopy(method.backbone))
    out = method.training_step(data, 0)
    assert out.logs["distance"] == 0
    torch.manual_seed(1)
    plain = MAE(network(case, 0), keep, size=list(CASES[case][1]), **OPTIONS)
    loss = plain.training_step(data, 0).loss
    assert torch.equal(out.loss, loss)
    loss.backward()
    out.loss.backward()
    for name, parameter in plain.named_parameters():
        found = method.get_parameter(name).grad
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_loss_is_the_sum_of_mae_on_hidden_patches_and_the_distance_on_the_whole_image(case):
    teacher = network(case, 5).eval()
    one, two = make(case, teacher, weight=1.0), make(case, teacher, weight=2.5)
    data = batch(case)
    a, b = one.training_step(data, 0), two.training_step(data, 0)
    with torch.no_grad():
        student, taught = (pool(n(data["image"])[-1:]) for n in (one.backbone, teacher))
    distance = float((student - taught).square().sum(1).mean())
    assert a.logs["distance"] == pytest.approx(distance, rel=1e-5) and distance > 0.1
    plain = float(MAE.training_step(one, data, 0).loss.detach())
    assert float(a.loss.detach()) == pytest.approx(plain + distance, rel=1e-5)
    assert float(b.loss.detach()) == pytest.approx(plain + 2.5 * distance, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_student_begins_with_the_weights_it_was_given_and_the_teacher_stays(case):
    original, teacher = network(case, 0), network(case, 5)
    first = copy.deepcopy(original.state_dict())
    last = copy.deepcopy(teacher.state_dict())
    method = SelfDistillation(original, keep, size=list(CASES[case][1]), **OPTIONS)
    method.learn_from(teacher)
    assert all(torch.equal(v, first[k]) for k, v in method.backbone.state_dict().items())
    trained = [p for p in method.parameters() if p.requires_grad]
    assert not {id(p) for p in method.teacher.parameters()} & {id(p) for p in trained}
    optimizer = torch.optim.AdamW(trained, 1e-2)
    distances = []
    for step in range(30):
        out = method.training_step(batch(case), step)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step)
        distances.append(out.logs["distance"])
    assert all(torch.equal(v, last[k]) for k, v in method.teacher.state_dict().items())
    assert not any(torch.equal(v, first[k]) for k, v in method.backbone.named_parameters())
    assert distances[-1] < 0.5 * distances[0]


def test_the_teacher_drops_nothing_while_the_student_trains():
    teacher = network("2d", 5, drop_path=0.5)
    method, image = make("2d", teacher), batch("2d")["image"]
    assert method.training and not method.teacher.training
    assert torch.equal(method.teacher(image)[0], method.teacher(image)[0])
    assert method.eval().train().teacher.training is False


@pytest.mark.parametrize("other", [dict(width=36), dict(channels=2)])
def test_a_teacher_that_says_other_things_is_refused(other):
    with pytest.raises(UserError, match="method.teacher: gives"):
        make("2d", network("2d", 5, **other))
    with pytest.raises(UserError, match="3 axes"):
        make("2d", network("3d", 5))
