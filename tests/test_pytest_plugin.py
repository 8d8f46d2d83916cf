"""The fixtures as a team uses them: pytest as a process of its own, on a bundle."""

import subprocess
import sys

import pytest

import edgeexport

TESTS = """
def test_agreement(edgeexport_bundle, edgeexport_device):
    report = edgeexport_device.verify(edgeexport_bundle)
    assert report.runs[0].device == edgeexport_device.address
    assert report.runs[0].parity.cosine_min > {least}


def test_without_a_device(edgeexport_bundle):
    assert edgeexport_bundle.manifest.precision == "w8a8"
"""


@pytest.fixture(scope="module")
def packed(linear, board, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "out"
    edgeexport.export(
        linear.model, target=board, precision="w8a8", calibration=linear.calibration, output=folder, verify=False
    )
    return folder


def run(folder, *options, least=0.9):
    (folder / "test_team.py").write_text(TESTS.format(least=least))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", *map(str, options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_bundle_is_tested_on_a_device(packed, tmp_path):
    done = run(tmp_path, "--edgeexport-bundle", packed, "--edgeexport-device", "local")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_test_that_asks_for_more_fails(packed, tmp_path):
    done = run(tmp_path, "--edgeexport-bundle", packed, least=1.1)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout


def test_without_a_bundle_tests_are_skipped(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0
    assert "2 skipped" in done.stdout
    assert "no bundle was named: --edgeexport-bundle DIR" in done.stdout


def test_a_broken_bundle_is_an_error_that_says_so(packed, tmp_path):
    done = run(tmp_path, "--edgeexport-bundle", tmp_path)
    assert done.returncode == 1
    assert "BundleError" in done.stdout
