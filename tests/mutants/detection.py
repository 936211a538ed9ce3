"""Mutants of the detection of boxes: anchors, moved boxes, what is learnt and called, groups."""

TESTS = [
    "tests/tasks/test_anchors.py",
    "tests/tasks/test_detection.py",
    "tests/augment/test_spatial.py",
    "tests/backbones/test_pyramid.py",
    "tests/data/test_truths.py",
    "tests/evaluation/test_detection.py",
    "tests/evaluation/test_subgroups.py",
]
MUTANTS = [
    ("medssl/tasks/anchors.py", "np.exp(centres)", "centres"),
    ("medssl/tasks/anchors.py", "step * np.log(APART)", "0 * np.log(APART)"),
    ("medssl/tasks/detection.py", 'batch["low"].repeat(1, 2)', 'batch["low"].repeat(1, 2) * 0'),
    ("medssl/tasks/detection.py", "(part >= SEEN * whole)", "(part >= 0 * whole)"),
    ("medssl/tasks/detection.py", "self.threshold.fill_(best)", "self.threshold.fill_(0.5)"),
    ("medssl/tasks/detection.py", "self.labels[found", "np.arange(99)[found"),
    ("medssl/tasks/detection.py", "drawn.boxes(boxes, shape)", "boxes"),
    ("medssl/augment/spatial.py", "back = torch.linalg.inv(maps[..., :-1])", "back = maps[..., :-1]"),
    ("medssl/augment/spatial.py", "- maps[:, None, :, -1]", "+ maps[:, None, :, -1]"),
    ("medssl/backbones/pyramid.py", "max(kept[0][1]) >= 2 * finest", "False"),
    ("medssl/data/truths.py", "constant_values=np.nan", "constant_values=0"),
    ("medssl/data/truths.py", "(t[:, :d] + t[:, d:-1]) / 2", "t[:, :d]"),
    ("medssl/evaluation/detection.py", "scores.mean()))", "scores.max()))"),
    ("medssl/evaluation/detection.py", "weights=score[joined]", "weights=None"),
    ("medssl/evaluation/detection.py", "f1[:-1][np.diff(scores) == 0] = 0", "pass"),
    ("medssl/evaluation/subgroups.py", "value_counts().index[: MOST - 1]", "value_counts().index"),
]  # fmt: skip
