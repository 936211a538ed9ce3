"""Mutants of p-values, of comparing runs, and of what is read of a run's folder."""

TESTS = [
    "tests/evaluation/test_significance.py",
    "tests/evaluation/test_headline.py",
    "tests/evaluation/test_comparison.py",
    "tests/evaluation/test_baseline.py",
    "tests/training/test_registry.py",
]
_P, _COMPARE = "medssl/evaluation/significance.py", "medssl/evaluation/comparison.py"
_BASELINE, _RUNS = "medssl/evaluation/baseline.py", "medssl/training/registry.py"
_RUN = "medssl/training/run.py"
MUTANTS = [
    (_P, "2 * (one_side + 1)", "2 * one_side"),
    (_P, "2 * (one_side + 1)", "(one_side + 1)"),
    (_P, "(samples <= 0).sum()", "(samples < 0).sum()"),
    (_P, "2.0 ** (1 - n_patients)", "2.0 ** -n_patients"),
    (_P, "np.arange(len(order), 0, -1)", "np.full(len(order), len(order))"),
    (_P, "np.maximum.accumulate(left * p[order])", "(left * p[order])"),
    (_P, "samples = samples[~np.isnan(samples)]", "samples = np.nan_to_num(samples)"),
    ("medssl/evaluation/headline.py", '"hd95_mm": LOWER', '"hd95_mm": HIGHER'),
    ("medssl/evaluation/headline.py", '"brier": LOWER', '"brier": HIGHER'),
    (
        "medssl/evaluation/headline.py",
        'FIRST = ("dice, mean of classes", "quadratic_kappa", "mean_absolute_error", "auroc", AT[0])',
        'FIRST = ("dice, mean of classes", "auroc", "quadratic_kappa", "mean_absolute_error", AT[0])',
    ),
    (_COMPARE, 'for some in (found["main"], ~found["main"])', 'for some in (found["p"] > -1,)'),
    (_COMPARE, "p_value(samples, gain.n_patients)", "p_value(samples)"),
    (_COMPARE, '(row["difference"] > 0) == higher', '(row["difference"] > 0) != higher'),
    (_COMPARE, 'row["p corrected"] >= LEVEL', 'row["p"] >= LEVEL'),
    (_COMPARE, 'columns=["setting", *settings], dtype=object', 'columns=["setting", *settings]'),
    (_BASELINE, 'cases[~cases["id"].isin(true["id"])]', 'cases[cases["box"] == "empty"]'),
    (_BASELINE, "(ours.isna() & theirs.isna())", "ours.isna()"),
    (_BASELINE, 'c in told or c.startswith("truth_")', "c in told[:3]"),
    (
        _RUN,
        "return self.logged\n        return self.saved",
        "return self.logged\n        return self.logged",
    ),
    (_RUN, "scored and self.card and scored != self", "scored and self.card and scored == self"),
    (_RUN, 'patients.get("pretrain", set()) & ', 'patients.get("train", set()) & '),
    (_RUNS, "entry.name not in left_out and", "True and"),
    (_RUNS, "for line in reversed(lines):", "for line in lines:"),
    (_RUNS, 'if card and not (found["kept"] or', 'if card and (found["kept"] or'),
]
