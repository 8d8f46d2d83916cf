"""A report as JUnit XML, which continuous integration systems show: a test case for each check.

The form is that of https://github.com/testmoapp/junitxml.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from edgeexport.results import Check, Report

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, such as the escape codes of a log."""


def render(report: Report) -> bytes:
    """The document, UTF-8."""
    checks = report.checks
    counts = {
        "tests": str(len(checks)),
        "failures": str(sum(check.verdict == "fail" for check in checks)),
        "errors": "0",
        "skipped": str(sum(check.verdict == "not run" for check in checks)),
    }
    name = f"{report.model} for {report.target}, {report.precision}"
    root = ElementTree.Element("testsuites", {"name": "edgeexport", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _text(name), **counts})
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _text(f"{name}.{check.where}"), "name": _text(check.name)}
        )
        if check.verdict == "fail":
            failure = ElementTree.SubElement(case, "failure", {"message": _text(_figures(check)), "type": "limit"})
            failure.text = _text(check.note)
        elif check.verdict == "not run":
            ElementTree.SubElement(case, "skipped", {"message": _text(check.note or "not run")})
        else:
            ElementTree.SubElement(case, "system-out").text = _text(f"{_figures(check)}\n{check.note}".strip())
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _figures(check: Check) -> str:
    if check.measured is None:
        return check.note.splitlines()[0] if check.note else check.verdict
    measured = f"{check.name} is {check.measured:g}"
    return measured if check.limit is None else f"{measured}, its limit {check.limit:g}"


def _text(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)
