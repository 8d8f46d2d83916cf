"""Release numbers."""

import pytest

from edgeexport.versions import older


@pytest.mark.parametrize(
    ("version", "minimum", "answer"),
    [
        ("1.9", "1.22", True),
        ("1.22", "1.22", False),
        ("1.22.0", "1.22", False),
        ("1.22", "1.22.1", True),
        ("1.23.0.dev1", "1.22", False),
        ("2", "1.22", False),
        ("", "1.0", True),
        ("unknown", "1.0", True),
        ("0.dev20261023", "0", False),
    ],
)
def test_older(version, minimum, answer):
    assert older(version, minimum) is answer
