"""JUnit XML, parsed again."""

from xml.etree import ElementTree

from edgeexport.report import junit
from edgeexport.results import Check, Report, Size


def check(name, verdict, **more):
    fields = {"measured": 0.5, "limit": 0.25, "unit": "ratio", "where": "onnxruntime on local", **more}
    return Check(name=name, verdict=verdict, **fields)


def parsed(*checks):
    size = Size(artifact_bytes=1, source_float32_bytes=4, ratio=0.25, components=())
    report = Report(target="board", model="m<&>", precision="w8", verdict="fail", size=size, runs=(), checks=checks)
    return ElementTree.fromstring(junit.render(report))


def test_every_check_is_a_test_case_with_its_verdict():
    root = parsed(
        check("size_ratio", "fail", where="artifact"),
        check("agreement", "pass", measured=0.97, limit=0.9, note="3 of 100 unlike float32"),
        check("accuracy_drop", "not run", measured=None, note="no labelled evaluation set"),
    )
    suite = root.find("testsuite")
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    failed, passed, skipped = suite.findall("testcase")
    assert (failed.get("name"), failed.get("classname")) == ("size_ratio", "m<&> for board, w8.artifact")
    assert failed.find("failure").get("message") == "size_ratio is 0.5, its limit 0.25"
    assert passed.find("failure") is None and passed.find("skipped") is None
    assert "agreement is 0.97, its limit 0.9" in passed.find("system-out").text
    assert "3 of 100" in passed.find("system-out").text
    assert skipped.find("skipped").get("message") == "no labelled evaluation set"


def test_a_log_with_control_characters_is_still_xml():
    root = parsed(check("run", "fail", measured=None, limit=None, note="crashed\x1b[31m\x00\nSegmentation fault ]]>"))
    failure = root.find("testsuite/testcase/failure")
    assert failure.get("message") == "crashed\ufffd[31m\ufffd"
    assert failure.text == "crashed\ufffd[31m\ufffd\nSegmentation fault ]]>"
