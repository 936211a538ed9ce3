import time

import pytest

from medssl.data.files import write_atomically
from medssl.training.energy import apart, metered


def zone(folder, name, joules, most=1000):
    (folder / name).mkdir(exist_ok=True)
    write_atomically(
        folder / name / "energy_uj", lambda p: p.write_text(str(int(joules * 1e6)))
    )  # as a counter is read whole
    if not (folder / name / "max_energy_range_uj").exists():
        (folder / name / "max_energy_range_uj").write_text(str(int(most * 1e6)))


def test_counters_of_all_packages_are_added_and_parts_of_them_are_not(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zone(tmp_path, name, 100)
    with metered(tmp_path) as cost:
        for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
            zone(tmp_path, name, 460)
    assert cost.kwh == pytest.approx(720 / 3.6e6) and 0 < cost.minutes < 1


def test_a_counter_that_began_anew_is_followed(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900)
    with metered(tmp_path, pause=0.02) as cost:
        for joules in (50, 700, 100):  # 150, then 650, then 400 more, twice over the end
            zone(tmp_path, "intel-rapl:0", joules)
            time.sleep(0.2)
    assert cost.kwh == pytest.approx(1200 / 3.6e6)


def test_where_nothing_tells_energy_there_is_none(tmp_path):
    with metered(tmp_path) as cost:
        pass
    assert cost.kwh is None


def test_the_cost_of_what_fails_is_told_too(tmp_path):
    zone(tmp_path, "intel-rapl:0", 0)
    with pytest.raises(RuntimeError), metered(tmp_path) as cost:
        zone(tmp_path, "intel-rapl:0", 36)
        raise RuntimeError
    assert cost.kwh == pytest.approx(1e-5)


def test_energy_is_of_one_training_that_was_not_cut_off(tmp_path):
    zone(tmp_path, "intel-rapl:0", 0)
    with metered(tmp_path) as cost:
        zone(tmp_path, "intel-rapl:0", 36)
    assert cost.energy(whole=True) == {"kwh": cost.kwh, "span": cost.span}
    assert cost.energy(whole=False)["kwh"] is None and cost.span[0] <= cost.span[1]
    assert apart([(5, 7), (0, 2), (2, 5)]) and apart([]) and not apart([(0, 3), (2, 5)])
