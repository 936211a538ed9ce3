"""Property checks of omni-supervised VoCo."""

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss

from medssl.augment.compose import Augment, augmenter
from medssl.backbones.monai3d import ResUNetEncoder
from medssl.errors import UserError
from medssl.methods.parts.overlap import random_starts
from medssl.methods.voco import VoCo
from medssl.methods.voco_omni import VoCoOmni, dice_ce, has_labels

CASES = {2: ([2, 3], [8, 12]), 3: ([2, 1, 2], [8, 12, 8])}


def keep(image, seeds, **_):
    return image


def make(ndim=3, augment=keep, channels=1, **options):
    torch.manual_seed(0)
    grid, size = CASES[ndim]
    backbone = ResUNetEncoder(channels, channels=[4, 8], ndim=ndim)
    options = {"classes": 2, "width": 16, "decoder_width": 4} | options
    return VoCoOmni(backbone, augment, grid=grid, size=size, **options)


def batch(method, labelled=(True, False, True), channels=1):
    g = torch.Generator().manual_seed(1)
    n = len(labelled)
    image = torch.randn(n, channels, *method.extent, generator=g)
    mask = (image[:, 0] > 0.5).long() + (image[:, 0] > 1.2)
    mask[~torch.tensor(labelled)] = -1
    return {"image": image, "mask": mask, "seed": torch.arange(n) + 10}


def close(a, b):
    return a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_dice_and_cross_entropy_against_numpy_in_float64(ndim):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 5, 6, 2)[: ndim + 2])
    labels = rng.integers(0, 4, size=(3, *logits.shape[2:]))
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    assert close(
        float(dice_ce(x, y)),
        float(
            DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)(
                x.float(), y[:, None]
            )
        ),
    )
    labels[rng.random(labels.shape) < 0.3] = -1
    labels[1] = -1
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p = np.moveaxis(p, 1, -1)[labels >= 0]
    y = labels[labels >= 0]
    entropy = -np.log(p[np.arange(len(y)), y]).mean()
    dice = [
        1 - (2 * p[y == c, c].sum() + 1e-5) / (p[:, c].sum() + (y == c).sum() + 1e-5)
        for c in (1, 2, 3)
    ]
    assert close(float(dice_ce(x, torch.from_numpy(labels))), entropy + np.mean(dice))


def test_nothing_counted_is_no_loss_and_no_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = dice_ce(logits, torch.full((1, 4, 4), -1))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6) and not logits.grad.any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_loss_is_voco_s_plus_segmentation_of_labelled_scans_alone(ndim):
    method = make(ndim, dropout=0.0)
    data = batch(method)
    out = method.training_step(data, 0)
    torch.manual_seed(0)
    plain = VoCo(
        ResUNetEncoder(1, channels=[4, 8], ndim=ndim), keep, grid=CASES[ndim][0],
        size=CASES[ndim][1], width=16, loss="v2", teacher="projector", inter=1.0,
    )  # fmt: skip
    ssl = plain.training_step(data, 0)
    assert torch.equal(plain.projector[0].weight, method.projector[0].weight)
    assert out.logs["ssl"] == float(ssl.loss.detach()) and out.logs["labelled"] == pytest.approx(
        2 / 3
    )
    assert float(out.loss.detach()) == pytest.approx(out.logs["ssl"] + out.logs["segmentation"])
    starts = random_starts(data["seed"], 2, method.extent, method.size)
    logits, labels = [], []
    for i in (0, 2):
        for start in starts[i].tolist():
            box = tuple(slice(s, s + n) for s, n in zip(start, method.size, strict=True))
            crop = data["image"][i][(slice(None), *box)][None]
            logits.append(method.decoder(method.backbone(crop), crop))
            labels.append(data["mask"][i][box])
    expected = dice_ce(torch.cat(logits), torch.stack(labels))
    assert close(out.logs["segmentation"], float(expected.detach()))
    # What the unlabelled scan's mask might have held makes no difference to anything.
    assert "pseudo" not in out.logs and method.labeller is None


@pytest.mark.parametrize("ndim", [2, 3])
def test_terms_come_with_the_scans_and_the_steps_that_have_them(ndim):
    method = make(ndim, pseudo_from=5)
    some, none, all_ = (batch(method, x) for x in ((True, False), (False, False), (True, True)))
    for step in (0, 4, 5, 9):
        late = {"pseudo"} if step >= 5 else set()
        terms = {"segmentation", "pseudo", "ssl"}
        assert terms & set(method.training_step(some, step).logs) == {"ssl", "segmentation"} | late
        out = method.training_step(none, step)
        assert terms & set(out.logs) == {"ssl"} | late
        assert float(out.loss.detach()) == pytest.approx(sum(out.logs[t] for t in {"ssl"} | late))
        assert terms & set(method.training_step(all_, step).logs) == {"ssl", "segmentation"}


def changed(method):
    torch.manual_seed(5)
    for p in [*method.backbone.parameters(), *method.decoder.parameters()]:
        p.data += 0.05 * torch.randn_like(p)


def same(method):
    live = [*method.backbone.state_dict().values(), *method.decoder.state_dict().values()]
    kept = method.labeller.state_dict().values()
    return all(torch.equal(a, b) for a, b in zip(live, kept, strict=True))


def test_the_labeller_is_the_model_of_one_step_and_stays_so():
    method = make(pseudo_from=5)
    changed(method)
    for step in range(4):
        method.after_step(step)
    assert not same(method)  # still the first weights
    method.after_step(4)
    assert same(method)
    data = batch(method, (False, False))
    before = method._pseudo_labels(data["image"])
    changed(method)
    for step in range(5, 12):
        method.after_step(step)
    assert not same(method) and torch.equal(before, method._pseudo_labels(data["image"]))
    again = make(pseudo_from=5)
    again.load_state_dict(method.state_dict())  # a resumed run
    a, b = method.training_step(data, 12), again.training_step(data, 12)
    assert torch.equal(a.loss, b.loss) and a.logs == b.logs


def test_pseudo_loss_asks_the_labeller_about_plain_crops():
    method = make(pseudo_from=1, augment=lambda x, seeds, **_: x + 0.3, dropout=0.0)
    changed(method)
    method.after_step(0)
    changed(method)
    data = batch(method, (False, True))
    out = method.training_step(data, 1)
    start = random_starts(data["seed"], 2, method.extent, method.size)[0].tolist()
    boxes = [tuple(slice(s, s + n) for s, n in zip(x, method.size, strict=True)) for x in start]
    crops = torch.stack([data["image"][0][(slice(None), *box)] for box in boxes])
    backbone, decoder = method.labeller
    labels = decoder(backbone(crops), crops).argmax(1)
    varied = crops + 0.3
    logits = method.decoder(method.backbone(varied), varied)
    assert not torch.equal(logits.argmax(1), labels)
    assert close(out.logs["pseudo"], float(dice_ce(logits, labels).detach()))


@pytest.mark.parametrize("detach", [True, False])
def test_pseudo_labels_reach_the_encoder_only_if_asked_to(detach):
    method = make(pseudo_from=1, detach=detach)
    changed(method)
    data = batch(method, (False, False))
    grads = {}
    for step in (0, 1):
        method.zero_grad()
        torch.manual_seed(0)
        method.training_step(data, step).loss.backward()
        grads[step] = [p.grad.clone() for p in method.backbone.parameters()]
        if step == 0:
            assert all(p.grad is None for p in method.decoder.parameters())
    assert all(map(torch.equal, grads[0], grads[1])) == detach
    assert method.decoder.head.weight.grad.any()
    assert all(p.grad is None for p in method.labeller.parameters())


def test_only_confident_voxels_count():
    method = make(pseudo_from=1, confidence=0.5)
    crops = batch(method)["image"][:, :, :8, :12, :8]
    share = method._segmented(method.labeller, crops).softmax(1).amax(1)
    labels = method._pseudo_labels(crops)
    assert torch.equal(labels >= 0, share >= 0.5) and 0 < (labels < 0).float().mean() < 1
    method.confidence = 0.0
    assert method._pseudo_labels(crops).min() == 0


class Noisy(torch.nn.Module):
    """A level with batch norm and dropout: what the labeller must not do in training mode."""

    def __init__(self):
        super().__init__()
        self.in_channels, self.ndim, self.channels = 1, 2, (4,)
        self.strides, self.divisor, self.n_layers = ((2, 2),), (2, 2), 1
        self.stage = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 2, 2), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)
        )

    def forward(self, image, visible=None):
        return [self.stage(image)]


def test_the_labeller_rests_while_the_rest_trains():
    method = VoCoOmni(Noisy(), keep, size=[8, 8], classes=2, width=8, pseudo_from=1)
    data = batch(method, (False, False))
    method.after_step(0)
    method.train()
    kept = {k: v.clone() for k, v in method.labeller.state_dict().items()}
    a, b = (method._pseudo_labels(data["image"]) for _ in range(2))
    method.train()
    method.training_step(data, 3)
    assert torch.equal(a, b)
    assert all(torch.equal(v, kept[k]) for k, v in method.labeller.state_dict().items())


def test_masks_need_not_move_with_crops():
    """With flips of everything, crops that are segmented lie as their masks do."""
    seen = []
    real = augmenter(Augment(flip=1.0, rotate=0, scale=[1.0, 1.0], shift=0), (-5.0, 5.0))

    def spy(image, seeds, **how):
        seen.append((image, real(image, seeds, **how), seeds))
        return seen[-1][1]

    method = make(augment=spy)
    data = batch(method)
    method.training_step(data, 0)
    (_, _, seeds), (plain, crops, own) = seen
    correlation = torch.corrcoef(torch.stack([plain.flatten(), crops.flatten()]))[0, 1]
    assert correlation > 0.9 and not torch.equal(plain, crops)
    assert len(set(own.tolist())) == len(own) == 4
    _, _, mask = method._crops(data, torch.tensor([True, False, True]))
    assert torch.equal(mask, (plain[:, 0] > 0.5).long() + (plain[:, 0] > 1.2))


def test_what_is_no_label_is_named():
    mask = torch.zeros(2, 4, 4, dtype=torch.long)
    assert has_labels(mask, 2).tolist() == [True, True]  # nothing there is a label as well
    mask[0] = -1
    assert has_labels(mask, 2).tolist() == [False, True]
    mask[1, 0, 0] = 7
    with pytest.raises(UserError, match="label 7.*method.classes=7"):
        has_labels(mask, 2)
    mask[1, 0, 0] = -1
    with pytest.raises(UserError, match="value -1 beside others"):
        has_labels(mask, 2)
    with pytest.raises(UserError, match="value -2 beside others"):
        has_labels(torch.full((1, 4, 4), -2), 2)


@pytest.mark.parametrize("ndim", [2, 3])
def test_learns_to_segment_and_goes_on_with_pseudo_labels(ndim):
    method = make(ndim, channels=2, pseudo_from=30, width=8)
    data = batch(method, (True, False, True), channels=2)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 5e-3)
    logs = []
    for step in range(45):
        out = method.training_step(data, step)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step(step)
        logs.append(out.logs)
    assert logs[-1]["segmentation"] < 0.7 * logs[0]["segmentation"]
    assert "pseudo" not in logs[29] and np.isfinite(logs[30]["pseudo"])


@pytest.mark.parametrize("ndim", [2, 3])
def test_pictures_show_a_mask_where_there_is_one(ndim):
    method = make(ndim).eval()
    *overlaps, gallery = method.pictures(batch(method), 0)
    assert [p["kind"] for p in overlaps] == ["overlap"] * 2
    assert gallery["captions"] == [
        "scan",
        "mask",
        "answer",
        "scan",
        "answer",
        "scan",
        "mask",
        "answer",
    ]
    assert all(image.shape == method.size for image in gallery["images"])


def test_the_loader_reads_masks_of_the_whole_grid():
    spec = make(whole=False).crops
    assert spec.mask and not spec.whole and spec.size == (16, 12, 16)
