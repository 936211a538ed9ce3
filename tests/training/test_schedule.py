import pytest
from pydantic import ValidationError

from medssl.training.branch import Branch
from medssl.training.optim import Optim
from medssl.training.schedule import rate, remarks

INFINITE = Optim(schedule="infinite", warmup=10, cooldown=40, constant=0.3)


def branch(step=70, share=0.3):
    return Branch(run=None, checkpoint=None, step=step, share=share)


def test_warm_up_then_cosine():
    optim = Optim(warmup=0.1, final=0.1)
    rates = [rate(s, 100, optim) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1 and max(rates) == 1
    assert all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert rate(0, 5, Optim(warmup=0)) == 1


def test_warm_up_in_steps_is_the_same_share():
    share, steps = Optim(warmup=0.1), Optim(warmup=20)
    assert all(rate(s, 200, share) == rate(s, 200, steps) for s in range(200))


@pytest.mark.parametrize("steps", [1, 60, 100, 10**9])
def test_the_infinite_schedule_needs_no_number_of_steps(steps):
    expected = [rate(s, 500, INFINITE) for s in range(400)]
    assert [rate(s, steps, INFINITE) for s in range(400)] == expected


def test_the_infinite_schedule_is_continuous_where_its_phases_meet():
    rates = [rate(s, 1, INFINITE) for s in range(200)]
    # No step is larger than the steepest of its own phase: of the warm-up 1 / 10, of the cosine
    # (1 - 0.3) / 2 * pi / 40.
    steps = [b - a for a, b in zip(rates, rates[1:], strict=False)]
    assert max(steps[:9]) == pytest.approx(0.1) and rates[9] == rates[10] == 1
    assert all(-0.7 / 2 * 3.15 / 40 <= step <= 0 for step in steps[9:])
    assert rates[49] == pytest.approx(0.3, abs=2e-3) and set(rates[50:]) == {0.3}
    assert rates[30] == pytest.approx((1 + 0.3) / 2)  # half-way down


def test_an_anneal_goes_on_from_the_rate_and_falls_by_one_factor_to_the_last_step():
    optim = Optim(schedule="anneal", final=0.003)
    rates = [0.3] + [rate(s, 90, optim, branch()) for s in range(70, 90)]
    factors = [b / a for a, b in zip(rates, rates[1:], strict=False)]
    assert factors == pytest.approx([0.01 ** (1 / 20)] * 20)
    assert rates[-1] == pytest.approx(0.003)
    # Continuous with the run that it came from, however short it is.
    assert rate(70, 10**6, optim, branch()) == pytest.approx(0.3, rel=1e-5)


def test_a_cosine_of_a_branch_is_that_of_its_own_steps():
    optim = Optim(warmup=0.2)
    found = [rate(s, 90, optim, branch()) for s in range(70, 90)]
    assert found == [rate(s, 20, optim) for s in range(20)]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"schedule": "infinite"}, "in steps"),
        ({"schedule": "infinite", "warmup": 10}, "in steps"),
        ({"schedule": "infinite", "warmup": 0.1, "cooldown": 10}, "in steps"),
        ({"schedule": "infinite", "warmup": 5, "cooldown": 9, "frozen": 0.1}, "frozen"),
        ({"schedule": "anneal", "final": 0}, "final above 0"),
        ({"schedule": "forever"}, "infinite"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys, words):
    with pytest.raises(ValidationError, match=words):
        Optim(**keys)


def test_a_constant_rate_of_1_needs_no_cool_down():
    assert rate(10**6, 1, Optim(schedule="infinite", warmup=0, constant=1)) == 1


@pytest.mark.parametrize(
    ("keys", "steps", "words"),
    [
        ({"warmup": 100}, 4, "optim.warmup=100 and 4 steps"), ({"warmup": 3}, 4, None),
        ({"warmup": 0.9}, 4, None), ({"cooldown": 9}, 40, "does nothing in optim.schedule=cosine"),
        ({"schedule": "infinite", "warmup": 4, "cooldown": 9}, 4, "optim.warmup=4 and 4 steps"),
        ({"schedule": "infinite", "warmup": 2, "cooldown": 9}, 4, None),
        ({"schedule": "anneal", "warmup": 100}, 4, None),
    ],
)  # fmt: skip
def test_keys_that_come_to_nothing_are_remarked_on(keys, steps, words):
    told = remarks(Optim(**keys), steps)
    assert [words in each for each in told] == ([True] if words else [])
