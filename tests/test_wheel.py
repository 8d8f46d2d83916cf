"""What is installed is complete: the wheel, in a place of its own, in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeexport.target import targets_folder

CHECKOUT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_carries_its_targets_and_its_command(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(CHECKOUT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    shipped = {path.name for path in targets_folder().glob("*.toml")}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.rpartition("/")[2] for name in names if name.startswith("edgeexport/_targets/")} == shipped
    assert {"edgeexport/runtimes/runner.py", "edgeexport/py.typed"} <= set(names)
    templates = {path.name for path in (CHECKOUT / "edgeexport" / "report" / "templates").iterdir()}
    assert templates == {"page.html", "report.html", "comparison.html", "macros.html", "style.css"}
    assert {f"edgeexport/report/templates/{name}" for name in templates} <= set(names)
    assert not [name for name in names if not name.startswith(("edgeexport/", "edgeexport-"))]
    assert not [name for name in names if "__pycache__" in name or "tests" in name]

    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(target)}
    where = [sys.executable, "-c", "import edgeexport; print(edgeexport.__file__)"]
    printed = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(printed.strip()).is_relative_to(target)
    command = [sys.executable, str(target / "bin" / "edgeexport"), "targets"]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.split("\n\n")[0].splitlines()}
    assert {f"{name}.toml" for name in listed} == shipped
    done = subprocess.run([*command, "raspberry-pi-4"], cwd=empty, env=environment, capture_output=True, check=True)
    assert b"quantization.activation_type" in done.stdout
    page = [sys.executable, "-c", "from edgeexport.report import html; print(html.page('page.html'))"]
    done = subprocess.run(page, cwd=empty, env=environment, capture_output=True, check=True)
    assert b"prefers-color-scheme: dark" in done.stdout
