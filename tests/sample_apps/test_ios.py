"""The iOS app, which no compiler here takes: that its files parse, name what is there, and match what is tested."""

import json
import plistlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# What one platform has and the other does not, on purpose.
ONLY_KOTLIN = {"Json.kt"}  # Foundation reads JSON
ONLY_SWIFT = {"CoreMLEngine.swift", "Fields.swift"}
RENAMED = {"Bundle.kt": "ModelBundle.swift"}


@pytest.fixture(scope="session")
def ios(apps):
    return apps / "ios"


@pytest.fixture(scope="session")
def sources(apps):
    """The files of both platforms by name."""
    kotlin = (apps / "android/core/src/main/kotlin").rglob("*.kt")
    swift = (apps / "ios/Sources/EdgeBundle").glob("*.swift")
    return {path.name: path for path in kotlin}, {path.name: path for path in swift}


def test_vectors_and_tables_are_what_python_computes_now(apps, tmp_path):
    done = subprocess.run(
        [sys.executable, apps / "vectors/make.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(made) == 7
    for path in made - {Path("vectors/log-mel.json")}:
        assert (apps / path).read_bytes() == (tmp_path / path).read_bytes(), path
    old, new = (json.loads((folder / "vectors/log-mel.json").read_text()) for folder in (apps, tmp_path))
    for kept, computed in zip(old, new, strict=True):  # the last bits of a Fourier transform are the processor's
        np.testing.assert_allclose(kept.pop("values"), computed.pop("values"), rtol=0, atol=1e-6)
        assert kept == computed
    kept = {path.relative_to(apps) for path in (apps / "vectors").glob("*.json")}
    assert kept <= made


def test_the_tables_of_both_platforms_are_alike(sources):
    names = ("BertCharacters.kt", "BertCharacters.swift")
    texts = [files[name].read_text() for files, name in zip(sources, names, strict=True)]
    numbers = [re.findall(r"0x[0-9a-f]+", text) for text in texts]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 900


def test_every_file_parses(ios):
    tree_sitter = pytest.importorskip("tree_sitter", reason="pip install tree-sitter tree-sitter-swift")
    grammar = pytest.importorskip("tree_sitter_swift", reason="pip install tree-sitter tree-sitter-swift")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    assert parser.parse(b"let = 1 {").root_node.has_error
    files = sorted(ios.rglob("*.swift"))
    assert len(files) >= 17
    for path in files:
        root = parser.parse(path.read_bytes()).root_node
        assert not root.has_error, path


def test_no_try_stands_where_the_compiler_refuses_it(ios):
    """After the colon of a conditional, where the grammar takes it and the compiler does not."""
    for path in ios.rglob("*.swift"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not re.search(r" \? .* : try |^\s+[?:] try ", line), f"{path}:{number}"


def test_the_package_names_what_is_there(ios):
    text = (ios / "Package.swift").read_text()
    found = re.findall(r"\.(target|testTarget)\(\s*name: \"(\w+)\".*?path: \"([\w/]+)\"", text, re.DOTALL)
    assert found == [
        ("target", "EdgeBundle", "Sources/EdgeBundle"),
        ("testTarget", "EdgeBundleTests", "Tests/EdgeBundleTests"),
    ]
    for _, _, folder in found:
        assert any((ios / folder).glob("*.swift"))
    imported = set(
        re.findall(r"^(?:@testable )?import (\w+)$", "".join(p.read_text() for p in ios.rglob("*.swift")), re.M)
    )
    own = {name for _, name, _ in found}
    assert imported & own == {"EdgeBundle"}
    apple = {"CoreGraphics", "CoreML", "CoreVideo", "CryptoKit", "Foundation", "ImageIO", "PackageDescription"}
    assert imported - own <= apple | {"PhotosUI", "SwiftUI", "UniformTypeIdentifiers", "XCTest"}


def test_the_project_names_what_is_there(ios):
    yaml = pytest.importorskip("yaml")
    project = yaml.safe_load((ios / "project.yml").read_text())
    (target,) = project["targets"].values()
    assert (ios / target["settings"]["base"]["INFOPLIST_FILE"]).is_file()
    assert [source["path"] for source in target["sources"]] == ["App", "App/Bundle"]
    assert (ios / ".gitignore").read_text().splitlines()[1] == "/App/Bundle/"
    assert [item["package"] for item in target["dependencies"]] == list(project["packages"]) == ["EdgeBundle"]
    platforms = re.search(r"\.iOS\(\.v(\d+)\)", (ios / "Package.swift").read_text())[1]
    assert project["options"]["deploymentTarget"]["iOS"] == f"{platforms}.0"
    entry = [path.name for path in (ios / "App").glob("*.swift") if "@main" in path.read_text()]
    assert entry == ["EdgeSampleApp.swift"]
    folder = re.search(r'forResource: "(\w+)"', (ios / "App/Classifier.swift").read_text())[1]
    assert f"App/{folder}" == target["sources"][1]["path"]


def test_the_property_list_is_one(ios):
    found = plistlib.loads((ios / "App/Info.plist").read_bytes())
    assert found["CFBundlePackageType"] == "APPL"
    assert found["CFBundleIdentifier"] == "$(PRODUCT_BUNDLE_IDENTIFIER)"
    assert not [key for key in found if key.endswith("UsageDescription")]  # it asks for nothing


def test_it_runs_what_its_target_has(ios):
    from edgeexport.target import load_target

    target = load_target("iphone-ios17")
    engine = (ios / "Sources/EdgeBundle/CoreMLEngine.swift").read_text()
    assert f'bundle.format == "{target.format}"' in engine
    (need,) = target.runtimes
    assert f".iOS(.v{need.minimum})" in (ios / "Package.swift").read_text()


def functions(path):
    """Names of functions in a file; Swift's initialisers and Kotlin's operators are their own affair."""
    names = re.findall(r"\bfun(?:c)? (?:<[^>]+> )?(\w+)\(", path.read_text())
    return {name for name in names if not name.startswith("to")}


def test_files_and_functions_match_what_is_tested_on_the_jvm(sources):
    kotlin, swift = sources
    assert {RENAMED.get(name, name.replace(".kt", ".swift")) for name in set(kotlin) - ONLY_KOTLIN} == (
        set(swift) - ONLY_SWIFT
    )
    for name in ("BertNormalizer", "WordPiece", "TextFeatures", "PillowResize", "ImageFeatures", "LogMelFeatures"):
        ours, theirs = functions(kotlin[f"{name}.kt"]), functions(swift[f"{name}.swift"])
        # Each language's own way to build, to convert, and to ask whether something is in a set.
        assert ours - theirs <= {"parse", "codePoints", "lowered", "window", "filters", "at"}, name
        assert theirs - ours <= {"firstAdded", "contains", "row"}, name


def test_both_platforms_have_the_same_numbers(sources):
    """Constants of the algorithms, in the order in which they stand."""
    kotlin, swift = sources
    for name in ("PillowResize", "LogMelFeatures"):
        found = []
        for path in (kotlin[f"{name}.kt"], swift[f"{name}.swift"]):
            code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
            code = re.sub(r"//.*", "", code)
            found.append(sorted({float(number) for number in re.findall(r"(?<![\w.$])\d+(?:\.\d+)?\b", code)}))
        assert found[0] == found[1], name
        assert len(found[0]) >= 9
