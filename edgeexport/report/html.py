"""A report as one HTML page, readable on a phone and on a desk, without scripts or outside resources."""

from __future__ import annotations

from functools import cache
from typing import Any

from edgeexport.artifact import Manifest
from edgeexport.report import byte_map, divergence_view, excess_view, grid, search_view, sensitivity_view, verdict
from edgeexport.report.gauges import gauges, title_of
from edgeexport.report.reproduce import reproduction
from edgeexport.report.words import conditions, estimated, executed, format_value, percent
from edgeexport.results import Check, Report

_LARGEST = 12


def render(report: Report, manifest: Manifest | None = None) -> str:
    """The page, with every text escaped.

    Args:
        report: what verification found. Sections without data are left out.
        manifest: of the bundle, for how to make it again; None leaves that out.
    """
    return page(
        "report.html",
        report=report,
        sentence=verdict.sentence(report),
        gauges=gauges(report),
        unproved=_unproved(report),
        checks=grid.checks(report, ("fail", "not run", "pass")),
        search=None if report.search is None else search_view.view(report.search),
        sensitivities=None if report.search is None else sensitivity_view.tables(report.search),
        bytes=_bytes(report),
        divergences=divergence_view.views(report.divergences),
        answers=grid.answers(report),
        costs=grid.costs(report),
        errors=[run for run in executed(report) if run.error],
        conditions=conditions(report),
        estimates=grid.estimates(estimated(report)),
        evidence={run.evidence for run in report.runs},
        evidence_at={run.place: run.evidence for run in report.runs},
        reproduction=None if manifest is None else reproduction(report, manifest),
    )


def page(template: str, **values: Any) -> str:
    """One of the package's templates, filled."""
    return str(_environment().get_template(template).render(**values))


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgeexport.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(value=format_value, percent=percent, title_of=title_of, style=_style)
    return environment


def _unproved(report: Report) -> list[Check]:
    """What failed, then what was not run."""
    return [check for kind in ("fail", "not run") for check in report.checks if check.verdict == kind]


def _bytes(report: Report) -> dict[str, Any] | None:
    modules = byte_map.placed(report.size)
    if not modules:
        return None
    whole = sum(one.bytes for one in modules)
    return {
        "pictures": [byte_map.draw(modules, form) for form in byte_map.FORMS],
        "legend": [
            (kind, byte_map.KINDS[kind], format_value(count, "bytes"), percent(count / whole))
            for kind, count in byte_map.totals(modules).items()
        ],
        "largest": grid.modules(report, _LARGEST),
        "excess": excess_view.tables(report.size),
        "components": grid.components(report),
    }


def _style(outcome: str) -> str:
    """The class of a verdict."""
    return {"pass": "pass", "fail": "fail"}.get(outcome, "not-run")
