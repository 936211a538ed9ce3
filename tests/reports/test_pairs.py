from types import SimpleNamespace

import numpy as np
import pandas as pd

from medssl.reports.pairs import copied, dropped


def store(**columns) -> SimpleNamespace:
    """Four films, each of its own number."""
    ids = [f"f{i}" for i in range(4)]
    items = pd.DataFrame({"id": ids, **columns}, index=ids)
    return SimpleNamespace(
        items=items, ndim=2, read=lambda id: np.full((1, 4, 6), int(id[1]), np.float32)
    )


def table(**columns) -> pd.DataFrame:
    """f0 stands for f1 and f2, f3 for itself."""
    rows = {
        "item": ["f0", "f1", "f2", "f3"], "slice": -1, "kept": [True, False, False, True],
        "representative": ["f0", "f0", "f0", "f3"], "representative_slice": -1,
        "distance": [0.0, 2.0, 5.0, 0.0], "blank": False,
    }  # fmt: skip
    return pd.DataFrame(rows | columns)


def test_dropped_ones_stand_beside_what_is_kept_the_farthest_first():
    pairs = dropped(store(), table(), seed=0)
    assert [(a, b, far) for _, _, a, b, far in pairs] == [("f0", "f2", 5.0), ("f0", "f1", 2.0)]
    assert [(kept.max(), gone.max()) for kept, gone, *_ in pairs] == [(0, 2), (0, 1)]


def test_what_may_have_names_in_its_pixels_is_drawn_on_neither_side():
    assert dropped(store(burned_in=[True, False, False, False]), table(), 0) == []
    pairs = dropped(store(burned_in=[False, False, True, False]), table(), 0)
    assert [p[3] for p in pairs] == ["f1"]
    copies = pd.DataFrame({"scan": ["f0", "f1"], "copy": ["f2", "f3"], "alike": [1.0, 0.99]})
    hidden = store(burned_in=[False, False, True, False])
    assert [p[2:] for p in copied(store(), hidden, copies)] == [("f1", "f3", 0.99)]
    assert copied(hidden, hidden, None) == []


def test_nothing_that_is_blank_is_drawn():
    assert dropped(store(), table(blank=True), 0) == []


def test_of_a_coreset_the_nearest_kept_stands_beside_the_farthest_dropped():
    coreset = table(representative=["f0", "", "", "f3"], distance=[0.3, 0.7, 0.9, 0.1])
    found = [pair[2:] for pair in dropped(store(), coreset, 0)]
    assert found == [("f3", "f2", 0.9), ("f0", "f1", 0.7)]
    hidden = store(burned_in=[False, False, True, False])
    assert [pair[2:] for pair in dropped(hidden, coreset, 0)] == [("f3", "f1", 0.7)]
    assert dropped(store(), coreset.assign(blank=True), 0) == []
