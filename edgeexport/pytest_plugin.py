"""Fixtures for a team's own tests of a bundle on its devices, known to pytest wherever edgeexport is installed.

    pytest --edgeexport-bundle bundle/ --edgeexport-device ssh://pi@board --edgeexport-device local

    def test_accuracy(edgeexport_bundle, edgeexport_device):
        report = edgeexport_device.verify(edgeexport_bundle, evaluation="labelled.jsonl")
        assert report.runs[0].accuracy.value > 0.9

A test that takes ``edgeexport_device`` runs once on each; one that takes a bundle is skipped where none is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgeexport.artifact import Bundle
    from edgeexport.results import Report


@dataclass(frozen=True)
class DeviceUnderTest:
    """A device by its address, such as ``local``.

    Attributes:
        address: as after ``--on``.
    """

    address: str

    def verify(self, bundle: Bundle, **named: Any) -> Report:
        """Verify the bundle here; ``named`` is as for :func:`edgeexport.verify`.

        Raises:
            EdgeExportError: the bundle is incomplete or altered, or the device cannot be used.
        """
        import edgeexport

        return edgeexport.verify(bundle.path, on=[self.address], **named)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("edgeexport")
    group.addoption(
        "--edgeexport-bundle", metavar="DIR", help="A folder that `edgeexport export` wrote, for its fixture."
    )
    group.addoption(
        "--edgeexport-device",
        action="append",
        metavar="DEVICE",
        help="Where tests of the bundle run, as after `edgeexport verify --on`. Repeatable; default: local.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes a device once on each."""
    if "edgeexport_device" in metafunc.fixturenames:
        addresses = metafunc.config.getoption("--edgeexport-device") or ["local"]
        metafunc.parametrize("edgeexport_device", addresses, indirect=True, ids=addresses, scope="session")


@pytest.fixture(scope="session")
def edgeexport_bundle(request: pytest.FixtureRequest) -> Bundle:
    """The bundle of ``--edgeexport-bundle``, its hashes checked."""
    path = request.config.getoption("--edgeexport-bundle")
    if not path:
        pytest.skip("no bundle was named: --edgeexport-bundle DIR")
    from pathlib import Path

    from edgeexport.artifact import load_bundle

    return load_bundle(Path(path))


@pytest.fixture(scope="session")
def edgeexport_device(request: pytest.FixtureRequest) -> DeviceUnderTest:
    """A device of ``--edgeexport-device``."""
    return DeviceUnderTest(request.param)
