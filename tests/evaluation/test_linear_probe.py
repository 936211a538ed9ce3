import numpy as np
import pytest

from medssl.errors import UserError
from medssl.evaluation import linear_probe
from medssl.evaluation.linear_probe import linear_predict, standardised


def planted(n=400, seed=0, classes=3, d=24):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return np.eye(classes, d)[labels] * 2 + 0.3 * rng.normal(size=(n, d)) + 50, labels


def test_finds_planted_groups_and_not_shuffled_ones():
    x, y = planted()
    groups, order = np.arange(300) // 4, np.random.default_rng(1).permutation(300)
    right = linear_predict(x[:300], y[:300], groups, x[300:]) == y[300:]
    assert right.mean() > 0.97
    wrong = linear_predict(x[:300], y[:300][order], groups, x[300:]) == y[300:]
    assert wrong.mean() < 0.5  # three classes: 0.33 by chance


def test_scale_and_shift_of_a_dimension_do_not_matter():
    x, y = planted()
    factor, groups = 10.0 ** np.arange(-3, 3)[np.arange(24) % 6], np.arange(300) // 4
    plain = linear_predict(x[:300], y[:300], groups, x[300:])
    scaled = linear_predict(x[:300] * factor + 7, y[:300], groups, x[300:] * factor + 7)
    assert (plain == scaled).mean() > 0.99
    assert np.array_equal(plain, linear_predict(x[:300], y[:300], groups, x[300:]))


def test_strength_is_chosen_across_patients(monkeypatch):
    """A patient's rows are never in the fit and in what it is judged by."""
    x, y = planted(120)
    groups, fits = np.arange(120) // 4, []

    class Seen:
        def __init__(self, rows):
            self.rows = rows

        def predict(self, held):
            fits.append((self.rows, held))
            return np.zeros(len(held), int)

    monkeypatch.setattr(linear_probe, "_fitted", lambda x, labels, strength: Seen(x))
    linear_probe._strength(x, y, groups, seed=0)
    patient = {row.tobytes(): g for row, g in zip(x, groups, strict=True)}
    assert len(fits) == linear_probe.FOLDS * len(linear_probe.STRENGTHS)
    for fit, held in fits:
        assert not {patient[r.tobytes()] for r in fit} & {patient[r.tobytes()] for r in held}


def test_the_strength_that_held_out_patients_prefer_is_taken(monkeypatch):
    x, y = planted(60)
    answers = {row.tobytes(): label for row, label in zip(x, y, strict=True)}

    class Only:
        def __init__(self, good):
            self.good = good

        def predict(self, held):
            return np.array([answers[r.tobytes()] if self.good else -1 for r in held])

    for best in linear_probe.STRENGTHS:
        monkeypatch.setattr(linear_probe, "_fitted", lambda x, y, c, best=best: Only(c == best))
        assert linear_probe._strength(x, y, np.arange(60) // 3, 0) == best
    monkeypatch.setattr(linear_probe, "_fitted", lambda x, y, c: Only(True))
    assert linear_probe._strength(x, y, np.arange(60) // 3, 0) == min(linear_probe.STRENGTHS)


def test_one_class_one_patient_dead_dimensions_and_diverged_features():
    x, y = planted(20)
    assert linear_predict(x, np.full(20, 7), np.arange(20), x[:3]).tolist() == [7, 7, 7]
    x[:, 5] = 4.0
    assert np.isfinite(standardised(x)[0]).all()
    assert (linear_predict(x, y, np.zeros(20), x) == y).mean() > 0.9
    assert linear_predict(x, y, np.arange(20), x[:0]).tolist() == []
    with pytest.raises(UserError, match="no training features"):
        linear_predict(x[:0], y[:0], y[:0], x)
    with pytest.raises(UserError, match="not finite"):
        linear_predict(x, y, np.arange(20), np.full((1, 24), np.nan))
