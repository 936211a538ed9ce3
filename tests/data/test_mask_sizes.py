import numpy as np
import pandas as pd
import pytest

from medssl.data.mask_sizes import class_sizes, class_table, tabulated, unusual_sizes
from medssl.data.volume import Volume


def cohort(*, n: int = 20, **odd: dict[int, float]):
    """Sizes and units of masks with classes 1 (about 3 ml) and 2 (about 0.5 ml), some with others."""
    rng = np.random.default_rng(0)
    sizes = {
        f"s{i}": pd.Series({1: 3 * rng.lognormal(0, 0.2), 2: 0.5 * rng.lognormal(0, 0.2)})
        for i in range(n)
    }
    sizes |= {id: pd.Series(values, dtype=float) for id, values in odd.items()}
    units = dict.fromkeys(sizes, "ml")
    return tabulated(sizes, units), units


def test_sizes_are_ml_of_volumes_and_shares_of_films():
    array = np.zeros((1, 4, 5, 6), np.uint16)
    array[0, 0], array[0, 1, 0, 0] = 40000, 7
    sizes = class_sizes(Volume(array, np.diag([2.0, 2.0, 5.0, 1.0])))
    assert sizes.to_dict() == pytest.approx({7: 0.02, 40000: 0.6})
    film = np.zeros((1, 10, 10), np.int32)
    film[0, :5, :5] = 3
    assert class_sizes(Volume(film, np.eye(4))).to_dict() == {3: 25.0}
    assert class_sizes(Volume(0 * film, np.eye(4))).empty


def test_a_class_far_from_its_usual_size_or_missing_is_found_and_named():
    sizes, units = cohort(small={1: 3, 2: 0.01}, large={1: 40, 2: 0.5}, half={1: 3}, none={})
    found = unusual_sizes(sizes, units)
    assert set(zip(found["id"], found["value"], strict=True)) == {
        ("half", 2), ("none", 1), ("none", 2), ("small", 2), ("large", 1)
    }  # fmt: skip
    assert found["size"].tolist()[:3] == [0, 0, 0]
    assert found["id"].tolist()[3:] == ["small", "large"]
    assert found["usual"].between(0.4, 3.3).all()


def test_what_is_rare_few_or_of_nearly_one_size_is_not_unusual():
    for rare in (cohort(a={1: 3, 2: 0.5, 9: 1}, b={1: 3, 2: 0.5, 9: 80}), cohort(n=5, none={})):
        assert unusual_sizes(*rare).empty
    alike = {f"s{i}": pd.Series({1: 2.0}) for i in range(9)} | {"t": pd.Series({1: 2.2})}
    units = dict.fromkeys(alike, "ml")
    assert unusual_sizes(tabulated(alike, units), units).empty
    assert unusual_sizes(tabulated({}, {}), {}).empty


def test_films_and_volumes_are_judged_apart():
    sizes = {f"s{i}": pd.Series({1: 2.0 if i % 2 else 60.0}) for i in range(20)}
    units = {id: "ml" if i % 2 else "%" for i, id in enumerate(sizes)}
    table = tabulated(sizes, units)
    assert unusual_sizes(table, units).empty
    assert class_table(table)[["unit", "masks", "median"]].values.tolist() == [
        ["%", 10, 60.0], ["ml", 10, 2.0]
    ]  # fmt: skip
