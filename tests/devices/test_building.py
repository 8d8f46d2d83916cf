"""One builder at a time, and nothing half built."""

import sys
import threading

import pytest

from edgeexport.devices._building import building, run
from edgeexport.errors import MissingRequirement


def test_a_second_builder_waits_and_finds_what_the_first_built(tmp_path):
    place = tmp_path / "place"
    steps, found = [], []

    def second():
        with building(tmp_path, steps.append):
            found.append(place.is_dir())

    with building(tmp_path, steps.append) as new_folder:
        other = threading.Thread(target=second)
        other.start()
        other.join(0.3)
        assert (steps, found) == (["waiting for another build"], [])
        done = new_folder() / "done"
        done.mkdir()
        done.rename(place)
    other.join(10)
    assert found == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "place"]


def test_what_is_not_complete_goes_and_so_do_leftovers(tmp_path):
    leftover = tmp_path / ".building-killed" / "root"
    leftover.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), building(tmp_path, print) as new_folder:
        assert not leftover.exists()
        (new_folder() / "half").touch()
        new_folder()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_failed_command_says_why():
    code = "import sys; [print(number) for number in range(30)]; print('the reason', file=sys.stderr); sys.exit(4)"
    with pytest.raises(MissingRequirement) as caught:
        run([sys.executable, "-c", code], "it did not work", {}, hint="Try again.")
    lines = caught.value.what.splitlines()
    assert lines[0].startswith("it did not work (python")
    assert lines[0].endswith(": status 4)")
    assert lines[1:] == [*map(str, range(19, 30)), "the reason"]
    assert caught.value.hint == "Try again."
