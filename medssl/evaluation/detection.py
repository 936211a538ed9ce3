"""Figures of found boxes: average precision as COCO has it, and free-response ROC.

Boxes are (n, 2 d): low corner, then high corner, in voxels or mm. A detection hits the true box of its
class with which it overlaps most, among those that no surer detection has hit, if they overlap by at
least the IoU asked for. One that hits none, and of which at least such a share lies in a region of its
class that is to be ignored, counts neither as right nor as false, as COCO has it. Every figure takes
weights (R, cases), as those of `classification` do.
"""

from dataclasses import dataclass

import numpy as np

RECALLS = np.linspace(0, 1, 101)  # COCO's places of the precision
EDGES = {2: ("x0", "y0", "x1", "y1"), 3: ("x0", "y0", "z0", "x1", "y1", "z1")}
FALSE_A_SCAN = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


@dataclass(frozen=True)
class Boxes:
    """Boxes of one case: `box` (n, 2 d), `label` int (n,), of predictions `score` (n,), and beside true
    ones the regions that are to be `ignored`."""

    box: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    ignored: "Boxes | None" = None

    def above(self, score: float) -> "Boxes":
        """Those with at least so high a score."""
        kept = self.score >= score
        return Boxes(self.box[kept], self.label[kept], self.score[kept])

    def rows(self, classes: dict[int, str], edges: np.ndarray) -> list[dict]:
        """A row of a table for each, with corners `edges` (n, 2 d) as files have them: x, y and z."""
        scores = np.full(len(edges), np.nan) if self.score is None else self.score
        return [
            {
                "class": classes[int(label)],
                "score": round(float(score), 6),
                **dict(zip(EDGES[len(each) // 2], each.round(3).tolist(), strict=True)),
            }
            for each, label, score in zip(edges, self.label, scores, strict=True)
        ]


def as_boxes(target: np.ndarray) -> Boxes:
    """True boxes from rows (n, 2 d + 2) of corners, class, and 1 for a region that is to be ignored."""
    box, label, ignored = target[:, :-2], target[:, -2].astype(int), target[:, -1] > 0
    regions = Boxes(box[ignored], label[ignored])
    return Boxes(box[~ignored], label[~ignored], ignored=regions)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 2 d) and (m, 2 d); 0 where both are empty."""
    both = _shared(a, b)
    return _share(both, _size(a)[:, None] + _size(b)[None] - both)


def covered(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which share of each of the boxes `a` (n, 2 d) lies in one of `b` (m, 2 d) at most (n,)."""
    return _share(_shared(a, b), _size(a)[:, None]).max(1, initial=0)


def merged(members: list[Boxes], least: float) -> tuple[Boxes, np.ndarray]:
    """What several models found as one list, and the standard deviation of each box's score over models.

    From the surest box on, those of the same class that other models have there (the nearest of each, by
    an IoU of at least `least`) are joined with it: corners are their mean, weighted by scores; the score
    is the mean over all models, 0 of those that found nothing.
    """
    box, label, score = (
        np.concatenate([getattr(m, name) for m in members]) for name in ("box", "label", "score")
    )
    member = np.repeat(np.arange(len(members)), [len(m.box) for m in members])
    overlap, free = iou(box, box), np.ones(len(box), bool)
    found, spread = [], []
    for first in np.argsort(-score, kind="stable"):
        if not free[first]:
            continue
        joined = []
        for k in range(len(members)):
            near = np.where(free & (member == k) & (label == label[first]), overlap[first], -1)
            near[first] = 2 if member[first] == k else near[first]
            if len(near) and near.max() >= least:
                joined.append(int(near.argmax()))
        free[joined] = False
        scores = np.zeros(len(members))
        scores[member[joined]] = score[joined]
        corners = np.average(box[joined], axis=0, weights=score[joined])
        found.append((corners, label[first], scores.mean()))
        spread.append(scores.std(ddof=1) if len(members) > 1 else 0.0)
    order = np.argsort([-s for *_, s in found], kind="stable").astype(int)
    corners = np.array([c for c, *_ in found]).reshape(-1, box.shape[1])
    labels, scores = (np.array([f[k] for f in found]) for k in (1, 2))
    return Boxes(corners[order], labels[order].astype(int), scores[order]), np.array(spread)[order]


def hits(found: Boxes, truth: Boxes, label: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """(scores, hit or not) of a case's detections of one class, surest first, without those that count
    for nothing."""
    mine = np.flatnonzero(found.label == label)
    mine = mine[np.argsort(-found.score[mine], kind="stable")]
    wanted = truth.box[truth.label == label]
    overlap = iou(found.box[mine], wanted)
    counts, beside = np.ones(len(mine), bool), truth.ignored
    if beside is not None:
        counts = covered(found.box[mine], beside.box[beside.label == label]) < least
    hit, free = np.zeros(len(mine), bool), np.ones(len(wanted), bool)
    for row, each in enumerate(overlap):
        each = np.where(free, each, -1)
        if len(each) and each.max() >= least:
            hit[row], free[each.argmax()] = True, False
    counts |= hit
    return found.score[mine][counts], hit[counts]


class Detections:
    """Detections of one class over all cases, ready to be scored under any weighting of the cases."""

    def __init__(self, found: list[Boxes], truth: list[Boxes], label: int, least: float):
        pairs = [hits(f, t, label, least) for f, t in zip(found, truth, strict=True)]
        scores = np.concatenate([np.zeros(0), *(s for s, _ in pairs)])
        case = np.repeat(np.arange(len(pairs)), [len(s) for s, _ in pairs])
        order = np.argsort(-scores, kind="stable")
        self.scores, self.case = scores[order], case[order]
        self.hit = np.concatenate([np.zeros(0, bool), *(h for _, h in pairs)])[order]
        self.true = np.array([(t.label == label).sum() for t in truth])

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Mean of the precision at 101 recalls, each the best that a recall so high or higher has (R,);
        NaN where there is nothing to find."""
        right, wrong, all_true = self._counts(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(right / (right + wrong))
            recall = right / all_true[:, None]
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1))], 1)
        found = np.full(len(weights), np.nan)
        for row in np.flatnonzero(all_true > 0):
            at = np.searchsorted(recall[row], RECALLS)
            found[row] = best[row, at].mean()
        return found

    def froc(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The largest sensitivity with at most so many false boxes a scan, and the mean over the seven
        rates from 1/8 to 8; NaN where there is nothing to find."""
        right, wrong, all_true = self._counts(weights)
        last = np.append(np.diff(self.scores) != 0, True)[
            : len(self.scores)
        ]  # equal scores go together
        right, wrong = right[:, last], wrong[:, last]
        a_scan = wrong / weights.sum(1, keepdims=True)
        found = {}
        for rate in FALSE_A_SCAN:
            best = np.where(a_scan <= rate + 1e-12, right, 0).max(1, initial=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                found[f"sensitivity at {rate:g} false a scan"] = best / all_true
        return {"froc_mean": np.mean(list(found.values()), axis=0), **found}

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """(false boxes a scan, sensitivity) at every threshold, for the picture."""
        right, wrong, all_true = self._counts(np.ones((1, len(self.true))))
        return wrong[0] / len(self.true), right[0] / max(all_true[0], 1)

    def precision_and_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """At every threshold, for the picture."""
        right, wrong, all_true = self._counts(np.ones((1, len(self.true))))
        return right[0] / (right[0] + wrong[0]), right[0] / max(all_true[0], 1)

    def _counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights of hits and misses up to each detection (R, n), and of true boxes (R,)."""
        of_each = weights[:, self.case]
        right, wrong = (np.cumsum(of_each * side, 1) for side in (self.hit, ~self.hit))
        return right, wrong, weights @ self.true


def best_threshold(
    found: list[Boxes], truth: list[Boxes], classes: dict[int, str], least: float
) -> float:
    """The score from which on to call a box, so that F1 over all classes is largest; halfway to the next
    lower score. 0.5 where nothing is hit."""
    of_classes = [Detections(found, truth, label, least) for label in classes]
    scores = np.concatenate([d.scores for d in of_classes])
    order = np.argsort(-scores, kind="stable")
    scores, hit = scores[order], np.concatenate([d.hit for d in of_classes])[order]
    if not hit.any():
        return 0.5
    n_true = sum(d.true.sum() for d in of_classes)
    f1 = 2 * np.cumsum(hit) / (np.arange(1, len(hit) + 1) + n_true)
    f1[:-1][np.diff(scores) == 0] = 0  # equal scores are called together
    best = int(f1.argmax())
    return float((scores[best] + (scores[best + 1] if best + 1 < len(scores) else 0)) / 2)


def of_boxes(
    found: list[Boxes],
    truth: list[Boxes],
    classes: dict[int, str],
    weights: np.ndarray,
    least: float,
) -> dict[str, np.ndarray]:
    """AP at an IoU, mAP over IoU 0.5 to 0.95 by 0.05, and FROC: means of the classes, each followed by
    those of every class; sensitivities at single rates of the mean alone, as they would be too many. Where
    there is no box, such as in a group of scans, the means are NaN."""
    each: dict[str, dict] = {}
    for label, name in (classes or {0: "none"}).items():
        detections = Detections(found, truth, label, least)
        spread = [
            Detections(found, truth, label, t).average_precision(weights)
            for t in np.arange(0.5, 0.96, 0.05)
        ]
        each[name] = {
            f"ap at IoU {least:g}": detections.average_precision(weights),
            "map": np.mean(spread, axis=0),
            **detections.froc(weights),
        }
    measures = next(iter(each.values()))
    if len(each) == 1:
        return measures
    means = {m: _mean(np.stack([figures[m] for figures in each.values()])) for m in measures}
    found = {}
    for measure, mean in means.items():
        found[measure] = mean
        if not measure.startswith("sensitivity"):
            found |= {f"{measure}, {name}": figures[measure] for name, figures in each.items()}
    return found


def _mean(values: np.ndarray) -> np.ndarray:
    """Over classes that have something to find; NaN where none has."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def _shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The size (n, m) of what boxes (n, 2 d) and (m, 2 d) have in common."""
    d = a.shape[1] // 2
    low = np.maximum(a[:, None, :d], b[None, :, :d])
    high = np.minimum(a[:, None, d:], b[None, :, d:])
    return np.clip(high - low, 0, None).prod(2)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _size(boxes: np.ndarray) -> np.ndarray:
    d = boxes.shape[1] // 2
    return np.clip(boxes[:, d:] - boxes[:, :d], 0, None).prod(1)
