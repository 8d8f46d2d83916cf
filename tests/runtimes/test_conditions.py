"""Temperature, clock and energy, from a folder that stands for a board's root."""

import pytest

from edgeexport.runtimes import conditions


@pytest.fixture
def board(tmp_path):
    def write(**files):
        for path, value in files.items():
            place = tmp_path / path.replace("__", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{value}\n")
        return str(tmp_path)

    return write


def test_the_hottest_zone_and_the_mean_clock(board):
    root = board(
        sys__class__thermal__thermal_zone0__temp=41200,
        sys__class__thermal__thermal_zone1__temp=53500,
        sys__devices__system__cpu__cpu0__cpufreq__scaling_cur_freq=1500000,
        sys__devices__system__cpu__cpu3__cpufreq__scaling_cur_freq=600000,
    )
    assert conditions.read(root) == {"temperature_c": 53.5, "frequency_mhz": 1050.0}


def test_what_is_not_told_is_none(board):
    root = board(sys__class__thermal__thermal_zone0__temp="nothing")
    assert conditions.read(root) == {"temperature_c": None, "frequency_mhz": None}
    assert conditions.joules(root) is None


def test_energy_is_that_of_all_packages(tmp_path):
    for name, value in (("intel-rapl:0", 2_500_000), ("intel-rapl:1", 500_000), ("intel-rapl:0:0", 7_000_000)):
        place = tmp_path / "sys" / "class" / "powercap" / name
        place.mkdir(parents=True)
        (place / "energy_uj").write_text(str(value))
    assert conditions.joules(str(tmp_path)) == 3.0
