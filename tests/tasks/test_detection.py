import numpy as np
import pytest
import torch

from medssl.augment.compose import Augment
from medssl.backbones.base import build
from medssl.errors import UserError
from medssl.evaluation.detection import Boxes, as_boxes, best_threshold, hits, iou
from medssl.tasks.detection import Detection, _shown

STILL = Augment(rotate=0, scale=[1, 1], shift=0, gain=0, offset=0, gamma=0, noise=0)
SIZE = 32


def make(ndim=2, augment=STILL, classes=None, **options):
    torch.manual_seed(0)
    backbone = build("res_unet", in_channels=1, channels=[8, 16, 32], ndim=ndim)
    options = {"size": [SIZE] * ndim, "width": 16, "finest": 2, **options}
    return Detection(backbone, augment, classes or {1: "bright", 2: "dark"}, (-5.0, 5.0), **options)


def scenes(ndim, n, seed=0, size=SIZE):
    """Images with a bright or a dark block each, and (n, 2 d + 2) of it; the last one has none."""
    draw, images, targets = np.random.default_rng(seed), [], []
    for k in range(n):
        image = draw.normal(0, 0.3, (1, *[size] * ndim)).astype(np.float32)
        side = draw.integers(7, 12, ndim)
        low = np.array([draw.integers(0, size - s) for s in side])
        box = np.concatenate([low, low + side])
        label = 1 + k % 2
        if k < n - 1:
            image[(0, *(slice(a, b) for a, b in zip(low, low + side, strict=True)))] += [3, -3][
                label - 1
            ]
        images.append(image)
        targets.append(
            np.array([[*box, label, 0]], np.float32) if k < n - 1 else np.zeros((0, 2 * ndim + 2))
        )
    return images, targets


def batch(images, targets):
    ndim = images[0].ndim - 1
    padded = [np.pad(t, [(0, 1 - len(t)), (0, 0)], constant_values=np.nan) for t in targets]
    return {
        "image": torch.from_numpy(np.stack(images)),
        "target": torch.from_numpy(np.stack(padded).astype(np.float32)),
        "low": torch.zeros(len(images), ndim),
        "seed": torch.arange(len(images)),
    }


@pytest.mark.parametrize("ndim", [2, 3])
def test_learns_to_find_blocks_and_validation_chooses_what_is_called(ndim):
    task = make(ndim)
    images, targets = scenes(ndim, 8)
    task.learn_targets(targets)
    optimizer = torch.optim.AdamW(task.parameters(), 3e-3)
    for step in range(60):
        torch.manual_seed(step)
        loss = task.training_step(batch(images, targets), step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    task.eval()
    score = task.validate(zip(images, targets, strict=True))
    assert score > 0.9
    found, truth = [task.predict(image) for image in images], [as_boxes(t) for t in targets]
    best = best_threshold(found, truth, task.classes, task.least_iou)
    assert float(task.threshold) == pytest.approx(best) != 0.5
    right = false = 0
    for image, target in zip(images, targets, strict=True):
        called = task.predict(image).above(float(task.threshold))
        hit = hits(called, as_boxes(target), int(target[0, -2]), 0.3)[1] if len(target) else []
        right, false = right + sum(hit), false + len(called.box) - sum(hit)
    assert right >= 6 and false <= 1
    # A larger image is taken by windows, whose maps are joined; one that fits no stride is padded. Windows
    # that see a part of a block make it less sure than the threshold may ask, which is of whole images here.
    wide = np.random.default_rng(1).normal(0, 0.3, (1, *[SIZE + 21] * ndim)).astype(np.float32)
    at = [slice(16, 16 + SIZE)] * ndim
    wide[(0, *at)] = images[0][0]
    surest = task.predict(wide).box[:1]
    assert len(surest) == 1 and (iou(surest, targets[0][:, :-2] + 16) > 0.3).all()


def test_boxes_follow_their_crop_and_what_it_does_not_show_is_nothing_to_find(monkeypatch):
    task = make(augment=Augment(flip=[1.0, 0.0], rotate=0, scale=[1, 1], shift=0))
    seen = []

    class Spy:
        def train(self):
            return self

        def __call__(self, images, targets):
            seen.extend(targets)
            zero = images.sum() * 0
            return {"classification": zero, "box_regression": zero}

    monkeypatch.setattr(task, "_detector", Spy)
    rows = [[10, 20, 20, 30, 2, 0], [0, 0, 10, 10, 1, 0], [36, 36, 60, 60, 1, 0],
            [10, 20, 20, 30, 7, 0], [12, 20, 22, 30, 2, 1], [36, 36, 60, 60, 1, 1]]  # fmt: skip
    given = {
        "image": torch.zeros(1, 1, SIZE, SIZE), "target": torch.tensor([rows + [[np.nan] * 6]]),
        "low": torch.tensor([[8.0, 16.0]]), "seed": torch.tensor([0]),
    }  # fmt: skip
    task.training_step(given, 0)
    # Of the crop [8, 40) x [16, 48) mirrored along its first axis: rows 2..12 become 20..30. The box
    # far off is not there, of the one at its edge a sixth is; a class that is none of ours is not learnt.
    assert seen[0]["boxes"].tolist() == [[20, 4, 30, 14]] and seen[0]["labels"].tolist() == [1]
    # Regions to be ignored are, as far as they are shown.
    assert seen[0]["ignored"].tolist() == [[18, 4, 28, 14], [0, 20, 4, 32]]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_region_to_be_ignored_teaches_neither_a_box_nor_background(ndim):
    task, image = make(ndim), torch.zeros(1, 1, *[SIZE] * ndim)
    task.learn_targets([np.array([[*[0] * ndim, *[8] * ndim, 1, 0]], np.float32)])
    detector, seen = task._detector().train(), []
    judged = detector.compute_cls_loss

    def spy(logits, targets, matched):
        seen.extend(matched)
        return judged(logits, targets, matched)

    detector.compute_cls_loss = spy
    low, high = torch.zeros(1, ndim), torch.full((1, ndim), 16.0)
    box = {"boxes": torch.cat([low, high / 2], 1), "labels": torch.tensor([0])}
    nothing = torch.zeros(0, 2 * ndim)
    detector(image, [{**box, "ignored": nothing}])
    detector(image, [{**box, "ignored": torch.cat([low, high], 1)}])
    plain, spared = seen
    assert (plain >= 0).any() and ((plain >= 0) == (spared >= 0)).all()  # the box is learnt
    share = float((spared == -2).sum() / ((plain == -1) | (spared == -2)).sum())
    assert not (plain == -2).any() and share == pytest.approx(0.5**ndim, rel=0.1)
    everything = {"boxes": nothing, "labels": torch.zeros(0, dtype=int),
                  "ignored": torch.cat([low - 99, high + 99], 1)}  # fmt: skip
    losses = detector(image, [everything])
    assert losses["classification"].item() == 0  # not NaN, at which the loop would stop


def test_what_is_found_where_it_is_to_be_ignored_changes_no_validation():
    task = make().eval()
    image = np.zeros((1, SIZE, SIZE), np.float32)
    box = np.array([[0, 0, 8, 8, 1, 0]], np.float32)
    told = Boxes(
        np.array([[20, 20, 28, 28.0], [0, 0, 8, 8]]), np.array([1, 1]), np.array([0.9, 0.8])
    )
    task.predict = lambda _: told
    assert task.validate([(image, box)]) == pytest.approx(0.5)
    assert task.validate([(image, np.vstack([box, [18, 18, 30, 30, 1, 1]]))]) == 1
    assert task.validate([(image, np.array([[18, 18, 30, 30, 1, 1.0]]))]) is None


def test_a_box_counts_from_a_third_on():
    boxes = torch.tensor([[-2.0, 0, 1, 10], [-1, 0, 2, 10], [float("nan")] * 4])
    shown, kept = _shown(boxes, (16, 16))
    assert kept.tolist() == [True, True, False] and shown[0].tolist() == [0, 0, 1, 10]
    assert _shown(torch.tensor([[-8.0, 0, 2, 10]]), (16, 16))[1].tolist() == [False]


def test_an_image_without_boxes_has_a_loss_and_no_validation():
    task = make()
    images, targets = scenes(2, 1)
    task.learn_targets([np.array([[0, 0, 8, 8, 1, 0]], np.float32)])
    assert torch.isfinite(task.training_step(batch(images, targets), 0).loss)
    assert task.eval().validate(zip(images, targets, strict=True)) is None


def test_nan_is_left_to_the_loop():
    task = make()
    images, targets = scenes(2, 2)
    images[0][:] = np.nan
    assert not torch.isfinite(task.training_step(batch(images, targets), 0).loss)


def test_the_same_step_gives_the_same_loss():
    images, targets = scenes(2, 4)
    losses = []
    for _ in range(2):
        task = make()
        task.learn_targets(targets)
        torch.manual_seed(7)
        losses.append(task.training_step(batch(images, targets), 0).loss.item())
    assert losses[0] == losses[1]


def test_what_boxes_cannot_do_is_refused():
    with pytest.raises(UserError, match="boxes cannot follow"):
        make(augment=Augment(elastic=3.0))
    task = make()
    with pytest.raises(UserError, match="has 2 axes, the boxes have 3"):
        task.learn_targets([np.zeros((1, 8), np.float32)])
    with pytest.raises(UserError, match="need a model of volumes"):
        task.predict(np.zeros((1, 32, 32, 4), np.float32))


def test_weights_are_saved_once():
    task = make()
    names = [name for name, _ in task.named_parameters()]
    assert len(names) == len(set(names)) and not any("shared" in n for n in task.state_dict())
    assert {"anchors", "threshold"} <= set(task.state_dict())


def test_above():
    boxes = Boxes(np.zeros((2, 4)), np.array([1, 2]), np.array([0.9, 0.2]))
    assert boxes.above(0.5).label.tolist() == [1]


def test_a_training_set_without_boxes_is_told():
    with pytest.raises(UserError, match="none of the 2 training scans has one"):
        make().learn_targets([np.zeros((0, 6)), np.ones((2, 6))])
