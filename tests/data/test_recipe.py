"""A recipe refuses what cannot be carried out, and says in words what has an effect."""

import pytest
from pydantic import ValidationError

from medssl.data.recipe import Recipe


@pytest.mark.parametrize(
    "wrong",
    [{"window": [50, 50]}, {"percentiles": [5]}, {"percentiles": [-1, 99]}, {"spacing": [0, 1, 1]},
     {"spacing": [float("nan"), 1, 1]}, {"size": [0, 4, 4]}, {"size": [4]}, {"orientation": "ras"},
     {"orientation": "RAR"}, {"orientation": ""}],
)  # fmt: skip
def test_a_recipe_that_cannot_be_carried_out_is_refused(wrong):
    with pytest.raises(ValidationError):
        Recipe(**wrong)


def test_a_recipe_in_words_holds_what_has_an_effect():
    hu = str(Recipe(intensity="hu", spacing=[2, 2, 3], crop=True))
    assert "spacing 2x2x3 mm" in hu and "window -175 to 250 HU" in hu and "margin 5 mm" in hu
    assert "percentiles" not in hu
    scaled = str(Recipe())
    assert "percentiles 0.5 to 99.5" in scaled and "HU" not in scaled and "margin" not in scaled


def test_levels_are_quarter_units_unless_there_would_be_too_few_or_too_many():
    def levels(low, high):
        return Recipe(intensity="hu", window=[low, high]).levels

    assert levels(-175, 250) == 425 * 4 and levels(-1024, 3071) == 4095 * 4
    assert levels(0, 1) == 1024 and levels(-30000, 30000) == 60000
    assert Recipe(intensity="zscore").levels == 8192


@pytest.mark.parametrize("given", [{"spacing": 3}, {"size": "3"}])
def test_one_number_for_all_axes_is_refused_with_what_to_write(given):
    with pytest.raises(ValidationError, match="each axis: give 3,3,3, or 3,3 for films"):
        Recipe(**given)
