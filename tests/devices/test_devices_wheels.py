"""Packages for a board: which wheels it takes, and the whole way to a board that has none."""

import pytest

from edgeexport.devices import _wheels, fake
from edgeexport.errors import DeviceError


def test_tags_are_newest_first_and_end_with_the_oldest():
    found = _wheels.tags("linux", "aarch64", ("glibc", "2.36"))
    assert found[0] == "manylinux_2_36_aarch64"
    assert found[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert len(found) == 21


@pytest.mark.parametrize(
    ("system", "libc"),
    [("linux", ("", "")), ("linux", ("musl", "1.2")), ("darwin", ("glibc", "2.36")), ("linux", ("glibc", "2.12"))],
)
def test_other_systems_have_none(system, libc):
    assert _wheels.tags(system, "aarch64", libc) == []


def test_a_runtime_that_boards_do_not_have_is_refused():
    device = fake.open_device("")
    with pytest.raises(DeviceError, match="coreml does not run on fake"):
        device.prepare("coreml", print)
    device.close()


@pytest.mark.slow
def test_a_board_without_packages_runs_after_it_was_prepared():
    device, said = fake.open_device(""), []
    device._python += " -S"  # as a board's own Python: nothing of this environment is there
    device.prepare("ort", said.append)
    device.check("ort")
    assert said[-1] == "fake runs onnxruntime"
    device.close()
