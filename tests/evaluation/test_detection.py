import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medssl.evaluation.classification import once
from medssl.evaluation.detection import (
    FALSE_A_SCAN,
    Boxes,
    Detections,
    best_threshold,
    covered,
    hits,
    iou,
    merged,
    of_boxes,
)

NONE = np.zeros((0, 4))


def drawn(seed: int, ndim: int = 2, cases: int = 12, classes: int = 2):
    """Random boxes, and detections that are some of them, shaken, among false ones."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(cases):
        n = int(rng.integers(0, 4))
        low = rng.uniform(0, 60, (n, ndim))
        true = np.concatenate([low, low + rng.uniform(8, 30, (n, ndim))], 1)
        label = rng.integers(0, classes, n)
        shaken = true + rng.normal(0, 1.5, true.shape)
        m = int(rng.integers(0, 4))
        low = rng.uniform(0, 60, (m, ndim))
        false = np.concatenate([low, low + rng.uniform(8, 30, (m, ndim))], 1)
        box = np.concatenate([shaken, shaken[: n // 2] + 1, false])  # some are told twice
        labels = np.concatenate([label, label[: n // 2], rng.integers(0, classes, m)])
        found.append(Boxes(box, labels, rng.random(len(box))))
        truth.append(Boxes(true, label))
    return found, truth


def by_coco(found, truth, least: float) -> list[float]:
    """AP of each class by pycocotools, for films."""
    images = [{"id": i + 1} for i in range(len(truth))]
    categories = [{"id": 1}, {"id": 2}]
    annotations, told = [], []
    for i, (f, t) in enumerate(zip(found, truth, strict=True)):
        for boxes in filter(None, (t, t.ignored)):
            for box, label in zip(boxes.box, boxes.label, strict=True):
                x, y, *_ = box
                size = box[2:] - box[:2]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": i + 1, "category_id": int(label) + 1,
                     "bbox": [x, y, *size], "area": float(size.prod()), "iscrowd": int(boxes is not t)}
                )  # fmt: skip
        told += [[i + 1, *b[:2], *(b[2:] - b[:2]), s, k + 1]
                 for b, s, k in zip(f.box, f.score, f.label, strict=True)]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(np.array(told)), "bbox")
        judge.params.iouThrs, judge.params.maxDets = np.array([least]), [1000]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][0, :, :, 0, 0].mean(0).tolist()


def by_monai(found, truth, least: float) -> list[float]:
    """AP of each class by MONAI's evaluator, in 2D and 3D; it counts in float32."""
    matched = matching_batch(
        iou_fn=lambda a, b: np.asarray(box_iou(a, b)), iou_thresholds=[least],
        pred_boxes=[f.box for f in found], pred_classes=[f.label for f in found],
        pred_scores=[f.score for f in found], gt_boxes=[t.box for t in truth],
        gt_classes=[t.label for t in truth], max_detections=1000,
    )  # fmt: skip
    metric = COCOMetric(
        classes=["0", "1"], iou_list=[least], iou_range=(least, least, 0.1), max_detection=[1000]
    )
    told, _ = metric(matched)
    return [told[f"{k}_AP_IoU_{least:.2f}_MaxDet_1000"] for k in range(2)]


@pytest.mark.parametrize("least", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(6))
def test_average_precision_of_films_is_cocos(least, seed):
    found, truth = drawn(seed, 2, cases=20)
    ours = [Detections(found, truth, k, least).average_precision(once(20))[0] for k in (0, 1)]
    assert ours == pytest.approx(by_coco(found, truth, least), abs=1e-6)


def beside(found: list[Boxes], truth: list[Boxes], seed: int) -> list[Boxes]:
    """The same true boxes with regions to be ignored: around some detections, beside some, anywhere."""
    rng, out = np.random.default_rng(seed), []
    for f, t in zip(found, truth, strict=True):
        near = f.box[rng.random(len(f.box)) < 0.5] + rng.uniform(-8, 8, 4)
        low = rng.uniform(0, 60, (2, 2))
        box = np.concatenate([near, np.hstack([low, low + rng.uniform(10, 60, (2, 2))])])
        out.append(replace(t, ignored=Boxes(box, rng.integers(0, 2, len(box)))))
    return out


@pytest.mark.parametrize("least", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(6))
def test_regions_to_be_ignored_are_cocos_crowds(least, seed):
    found, plain = drawn(seed, 2, cases=20)
    truth = beside(found, plain, seed)
    ours = [Detections(found, truth, k, least).average_precision(once(20))[0] for k in (0, 1)]
    assert ours == pytest.approx(by_coco(found, truth, least), abs=1e-6)
    assert ours != pytest.approx(by_coco(found, plain, least), abs=1e-6)


def test_what_lies_in_a_region_to_be_ignored_is_neither_right_nor_false():
    box, region = np.array([[0, 0, 10, 10.0]]), np.array([[40, 40, 80, 80.0]])
    truth = Boxes(box, np.array([1]), ignored=Boxes(region, np.array([1])))
    told = np.array([[41, 41, 51, 51], [60, 60, 70, 70], [0, 0, 10, 10], [76, 76, 86, 86.0]])
    found = Boxes(told, np.ones(4, int), np.array([0.9, 0.8, 0.7, 0.6]))
    scores, hit = hits(found, truth, 1, 0.5)
    assert scores.tolist() == [0.7, 0.6] and hit.tolist() == [
        True,
        False,
    ]  # of the last a sixth lies there
    other = replace(found, label=np.full(4, 2))
    assert len(hits(other, truth, 2, 0.5)[0]) == 4  # the region is of another class
    around = replace(truth, ignored=Boxes(np.array([[0, 0, 99, 99.0]]), np.array([1])))
    assert hits(found, around, 1, 0.5)[1].tolist() == [
        True
    ]  # what hits a box is right all the same
    assert covered(told, NONE).tolist() == [0] * 4


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("least", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_in_2d_and_3d_is_monais_but_for_its_rounding(ndim, least, seed):
    found, truth = drawn(seed, ndim)
    ours = [Detections(found, truth, k, least).average_precision(once(12))[0] for k in (0, 1)]
    # A recall rounded to float32 may fall short of one of the 101 places: a hundredth of a step.
    assert ours == pytest.approx(by_monai(found, truth, least), abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_is_a_number_of_copies(seed):
    found, truth = drawn(seed)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=5).astype(float)
    ours = of_boxes(found, truth, {0: "a", 1: "b"}, weights, 0.5)
    for row, weight in enumerate(weights):
        chosen = np.repeat(np.arange(12), weight.astype(int))
        again = of_boxes(
            [found[i] for i in chosen], [truth[i] for i in chosen], {0: "a", 1: "b"}, once(12), 0.5
        )
        for name, values in ours.items():
            assert values[row] == pytest.approx(again[name][0], abs=1e-9, nan_ok=True), name


def test_overlap_in_2d_and_3d_against_counted_voxels():
    rng = np.random.default_rng(0)
    for ndim in (2, 3):
        low = rng.integers(0, 10, (2, 3, ndim))
        boxes = np.concatenate([low, low + rng.integers(1, 10, low.shape)], 2)
        found = iou(*boxes.astype(float))
        masks = np.zeros((2, 3, *[20] * ndim), bool)
        for side in range(2):
            for k in range(3):
                box = boxes[side, k]
                masks[(side, k, *map(slice, box[:ndim], box[ndim:]))] = True
        for i in range(3):
            for j in range(3):
                a, b = masks[0, i], masks[1, j]
                assert found[i, j] == pytest.approx((a & b).sum() / (a | b).sum())


def test_a_true_box_is_hit_once_and_by_the_surest():
    truth = [Boxes(np.array([[0, 0, 10, 10.0]]), np.array([1]))]
    found = [
        Boxes(np.array([[0, 0, 10, 10.0], [1, 0, 10, 10]]), np.array([1, 1]), np.array([0.4, 0.9]))
    ]
    detections = Detections(found, truth, 1, 0.5)
    assert detections.scores.tolist() == [0.9, 0.4] and detections.hit.tolist() == [True, False]


def test_froc_by_hand():
    """Two scans with a box each: hit, false, false, hit, from the surest down."""
    box = np.array([[0, 0, 10, 10.0]])
    far = box + 50
    truth = [Boxes(box, np.array([1]))] * 2
    found = [
        Boxes(np.concatenate([box, far]), np.array([1, 1]), np.array([0.9, 0.8])),
        Boxes(np.concatenate([far, box]), np.array([1, 1]), np.array([0.7, 0.6])),
    ]
    told = Detections(found, truth, 1, 0.5).froc(once(2))
    wanted = {1 / 8: 0.5, 1 / 4: 0.5, 1 / 2: 0.5, 1: 1, 2: 1, 4: 1, 8: 1}
    for rate in FALSE_A_SCAN:
        assert told[f"sensitivity at {rate:g} false a scan"][0] == wanted[rate]
    assert told["froc_mean"][0] == pytest.approx(np.mean(list(wanted.values())))
    x, y = Detections(found, truth, 1, 0.5).curve()
    assert x.tolist() == [0, 0.5, 1, 1] and y.tolist() == [0.5, 0.5, 0.5, 1]


def test_equal_scores_lie_on_one_side_of_a_threshold():
    box, score = np.array([[0, 0, 10, 10.0], [50, 50, 60, 60]]), np.array([0.5, 0.5])
    truth, found = [Boxes(box[:1], np.array([1]))], [Boxes(box, np.array([1, 1]), score)]
    told = Detections(found, truth, 1, 0.5).froc(once(1))
    assert told["sensitivity at 0.5 false a scan"][0] == 0
    assert told["sensitivity at 1 false a scan"][0] == 1


@pytest.mark.parametrize("found, truth, ap", [
    ([NONE], [np.array([[0, 0, 5, 5.0]])], 0.0),
    ([np.array([[0, 0, 5, 5.0]])], [NONE], np.nan),
    ([NONE], [NONE], np.nan),
    ([np.array([[0, 0, 5, 5.0]])], [np.array([[0, 0, 5, 5.0]])], 1.0),
    ([np.array([[3, 3, 3, 3.0]])], [np.array([[3, 3, 3, 3.0]])], 0.0),
])  # fmt: skip
def test_nothing_to_find_nothing_found_and_boxes_of_no_size(found, truth, ap):
    given = [Boxes(b, np.ones(len(b), int), np.full(len(b), 0.5)) for b in found]
    wanted = [Boxes(b, np.ones(len(b), int)) for b in truth]
    told = of_boxes(given, wanted, {1: "x"}, once(1), 0.5)
    for name in ("ap at IoU 0.5", "map", "froc_mean"):
        assert told[name][0] == pytest.approx(ap, nan_ok=True)


def test_the_threshold_with_the_best_f1():
    truth = [Boxes(np.array([[0, 0, 9, 9.0]]), np.array([0])) for _ in range(3)]
    right, wrong = [0, 0, 9, 9.0], [50, 50, 60, 60.0]
    found = [
        Boxes(np.array([right, wrong]), np.array([0, 0]), np.array([0.9, 0.2])),
        Boxes(np.array([right, wrong]), np.array([0, 0]), np.array([0.6, 0.5])),
        Boxes(np.array([wrong, right]), np.array([0, 0]), np.array([0.3, 0.1])),
    ]
    # F1 by threshold: .9: 1/2, .6: 4/5, .5: 4/6, .3: 4/7, .2: 4/8, .1: 6/9
    assert best_threshold(found, truth, {0: "a"}, 0.5) == pytest.approx(0.55)
    assert best_threshold(found[2:], truth[2:], {0: "a"}, 0.5) == pytest.approx(0.05)
    assert (
        best_threshold([Boxes(NONE, np.zeros(0, int), np.zeros(0))], truth[:1], {0: "a"}, 0.5)
        == 0.5
    )


def test_equal_scores_are_called_together():
    """The hit among three boxes that are as sure cannot be had without the other two."""
    here, there = [0.0, 0, 10, 10], [40.0, 40, 50, 50]
    truth = [Boxes(np.array([here, there]), np.array([0, 0]))]
    box = np.array([here, there, [20, 20, 30, 30], [70, 70, 80, 80], [70, 0, 80, 9]])
    found = [Boxes(box, np.zeros(5, int), np.array([0.9, 0.8, 0.8, 0.8, 0.8]))]
    # F1 by threshold: .9: 2/3, .8: 4/7; of the first two alone 1
    assert best_threshold(found, truth, {0: "a"}, 0.5) == pytest.approx(0.85)


def test_boxes_of_several_models_become_one():
    one = Boxes(
        np.array([[0, 0, 10, 10.0], [40, 40, 50, 50]]), np.array([1, 2]), np.array([0.9, 0.3])
    )
    two = Boxes(
        np.array([[1, 1, 11, 11.0], [40, 40, 50, 50]]), np.array([1, 1]), np.array([0.6, 0.3])
    )
    found, spread = merged([one, two], 0.3)
    assert found.label.tolist() == [1, 2, 1] or found.label.tolist() == [1, 1, 2]
    assert found.box[0] == pytest.approx([0.4, 0.4, 10.4, 10.4])
    assert found.score == pytest.approx([0.75, 0.15, 0.15])
    assert spread == pytest.approx([np.std([0.9, 0.6], ddof=1), *[np.std([0.3, 0], ddof=1)] * 2])
    empty = Boxes(NONE, np.zeros(0, int), np.zeros(0))
    found, spread = merged([empty, empty], 0.3)
    assert found.box.shape == (0, 4) and len(spread) == 0
    alone, _ = merged([one], 0.3)
    assert np.array_equal(alone.box, one.box) and alone.score == pytest.approx(one.score)


def test_two_boxes_of_one_model_are_never_joined():
    twice = Boxes(
        np.array([[0, 0, 10, 10.0], [1, 1, 11, 11]]), np.array([1, 1]), np.array([0.9, 0.8])
    )
    assert len(merged([twice, twice], 0.3)[0].box) == 2
