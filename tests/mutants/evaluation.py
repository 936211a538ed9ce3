"""Mutants of the collapse alarm and the probes."""

TESTS = [
    "tests/evaluation/test_collapse.py",
    "tests/evaluation/test_probe.py",
    "tests/evaluation/test_dense_probe.py",
    "tests/evaluation/test_linear_probe.py",
    "tests/evaluation/test_attentive_probe.py",
    "tests/evaluation/test_frozen.py",
]
MUTANTS = [
    ("medssl/evaluation/collapse.py", "svdvals(x - x.mean(0))", "svdvals(x)"),
    (
        "medssl/evaluation/collapse.py",
        '"rankme": effective_rank(torch.linalg.svdvals(x))',
        '"rankme": effective_rank(values)',
    ),
    (
        "medssl/evaluation/collapse.py",
        "return torch.exp(-torch.special.xlogy(p, p).sum())",
        "return torch.exp(torch.special.xlogy(p, p).sum())",
    ),
    ("medssl/evaluation/collapse.py", "deviation.square().mean().sqrt()", "deviation.median()"),
    ("medssl/evaluation/collapse.py", "last < POINT * first", "last < first"),
    ("medssl/evaluation/collapse.py", "last < POINT * first", "last < 0 * first"),
    ("medssl/evaluation/collapse.py", ".square().sum(1).mean())", ".square().mean())"),
    (
        "medssl/evaluation/collapse.py",
        "distances.mul(-2).exp().mean().log()",
        "distances.mul(-2).mean()",
    ),
    (
        "medssl/evaluation/collapse.py",
        "normalize(features.detach().float(), dim=1)).square()",
        "normalize(features.detach().float(), dim=1))",
    ),
    (
        "medssl/evaluation/collapse.py",
        "knn_predict(x[~asked], labels[~asked]",
        "knn_predict(x, labels",
    ),
    ("medssl/evaluation/collapse.py", "or len(later) < 3", ""),
    (
        "medssl/evaluation/collapse.py",
        "NARROW, ALONG, BLIND = 0.1, 0.05",
        "NARROW, ALONG, BLIND = 0.1, 0.2",
    ),
    ("medssl/evaluation/dense_probe.py", ".softmax(1)[:, 1:]", ".softmax(1)[:, 1:].detach()"),
    ("medssl/evaluation/dense_probe.py", "(2 * places.float() + 1)", "(2 * places.float())"),
    ("medssl/evaluation/dense_probe.py", ".flip(-1)", ""),
    ("medssl/evaluation/dense_probe.py", "len(where) / len(chosen)", "1.0"),
    ("medssl/evaluation/linear_probe.py", "GroupKFold", "KFold"),
    ("medssl/evaluation/attentive_probe.py", ".softmax(1)", ".softmax(2)"),
    ("medssl/evaluation/frozen.py", " / counts[:, None]", ""),
]
