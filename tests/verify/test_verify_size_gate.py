"""Sizes against limits and against each other."""

import pytest

from edgeexport.analysis import ModuleBytes
from edgeexport.results import Size
from edgeexport.verify.size_gate import Growth, SizeLimits, gate, growths


def size(float32=4000, **modules):
    shares = tuple(
        ModuleBytes(path=path.replace("_", "."), what="weight", dtype=dtype, bytes=count)
        for path, (dtype, count) in modules.items()
    )
    total = sum(share.bytes for share in shares)
    ratio = total / float32 if float32 else 0.0
    return Size(artifact_bytes=total, source_float32_bytes=float32, ratio=ratio, components=(), modules=shares)


BEFORE = size(enc_a=("int8", 600), enc_b=("int8", 400), gone=("int8", 50))
AFTER = size(enc_a=("float32", 1200), enc_b=("int8", 390), new=("int8", 7))


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


def test_without_limits_everything_passes_and_is_told():
    checks = list(gate(AFTER, SizeLimits(), None))
    assert [(check.name, check.measured, check.limit) for check in checks] == [
        ("artifact_bytes", 1597, None),
        ("size_ratio", 1597 / 4000, None),
    ]
    assert set(verdicts(checks).values()) == {"pass"}


@pytest.mark.parametrize(("limit", "verdict"), [(1597, "pass"), (1596, "fail")])
def test_bytes_at_most(limit, verdict):
    assert verdicts(gate(AFTER, SizeLimits(bytes=limit), None)) == {"artifact_bytes": verdict, "size_ratio": "pass"}


@pytest.mark.parametrize(("limit", "verdict"), [(0.4, "pass"), (0.399, "fail")])
def test_ratio_at_most(limit, verdict):
    assert verdicts(gate(AFTER, SizeLimits(ratio=limit), None)) == {"artifact_bytes": "pass", "size_ratio": verdict}


def test_a_failed_check_names_what_stayed_float():
    failed = next(check for check in gate(AFTER, SizeLimits(ratio=0.3), None) if check.verdict == "fail")
    assert "enc.a: +900 bytes, float32 weights" in failed.note


def test_a_model_without_its_source_has_no_ratio():
    checks = list(gate(size(float32=0, a=("int8", 10)), SizeLimits(bytes=5), None))
    assert verdicts(checks) == {"artifact_bytes": "fail"}
    assert checks[0].note == ""


@pytest.mark.parametrize(("limit", "verdict"), [(0.53, "pass"), (0.52, "fail"), (0.0, "fail"), (None, "pass")])
def test_growth_is_a_share_of_what_was_before(limit, verdict):
    check = list(gate(AFTER, SizeLimits(growth=limit), BEFORE))[-1]
    assert (check.name, check.unit, check.verdict) == ("artifact_bytes_growth", "share", verdict)
    assert check.measured == pytest.approx(547 / 1050)
    assert check.note == "+547 bytes; enc.a: +600 (600 to 1,200); new: +7 (0 to 7)"


def test_what_shrank_passes_and_names_nothing():
    check = list(gate(BEFORE, SizeLimits(growth=0.0), AFTER))[-1]
    assert (check.verdict, check.note) == ("pass", "-547 bytes")


def test_modules_that_changed_by_how_much():
    assert growths(BEFORE, AFTER) == (
        Growth("enc.a", 600, 1200),
        Growth("new", 0, 7),
        Growth("enc.b", 400, 390),
        Growth("gone", 50, 0),
    )
    assert sum(growth.bytes for growth in growths(BEFORE, AFTER)) == 547
    assert growths(BEFORE, BEFORE) == ()
