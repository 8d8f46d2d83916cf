"""A report as one HTML page without scripts or outside resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgeexport.results import Conditions, Latency, Report, Run

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.model }} for {{ report.target }}: {{ report.verdict }}</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 2rem; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.pass { color: #1a7f37; } .fail { color: #d1242f; font-weight: 600; } .not { color: #9a6700; }
pre { white-space: pre-wrap; font-size: .85em; }
</style>
</head>
<body>
<h1>{{ report.model }} for {{ report.target }}</h1>
<p>Precision {{ report.precision }}. Verdict:
<strong class="{{ report.verdict | style }}">{{ report.verdict }}</strong>.</p>
<h2>Checks</h2>
<div class="scroll"><table>
<tr><th>Check</th><th>Measured</th><th>Limit</th><th>Verdict</th><th>Where</th></tr>
{% for check in report.checks %}
<tr><td>{{ check.name }}</td><td class="number">{{ check.measured | value(check.unit) }}</td>
<td class="number">{{ check.limit | value(check.unit) }}</td>
<td class="{{ check.verdict | style }}">{{ check.verdict }}</td>
<td>{{ check.where }}{% if check.note %}<pre>{{ check.note }}</pre>{% endif %}</td></tr>
{% endfor %}
</table></div>
<h2>Runs</h2>
<div class="scroll"><table>
<tr><th>Runtime</th><th>Device</th><th>Evidence</th><th>{{ metric }}</th><th>float32</th><th>Unlike float32</th>
<th>Median ms</th><th>float32 ms</th><th>Peak memory</th>{% if arenas %}<th>Tensor arena</th>{% endif %}</tr>
{% for run in executed %}
<tr><td>{{ run | runtime }}</td><td>{{ run.device }}<br>{{ run.cpu }}</td>
<td>{{ run.evidence }}</td>
<td class="number">{{ run.accuracy.value | value("share") if run.accuracy else "–" }}</td>
<td class="number">{{ run.accuracy.reference | value("share") if run.accuracy else "–" }}</td>
<td class="number">{% if run.parity and run.parity.unlike is not none -%}
{{ run.parity.unlike }} of {{ run.parity.samples }}{% else %}–{% endif %}</td>
<td class="number">{{ "%.2f" | format(run.latency_ms.p50) if run.latency_ms else "–" }}</td>
<td class="number">{{ "%.2f" | format(run.latency_ms.float32_p50) if run.latency_ms else "–" }}</td>
<td class="number">{{ run.peak_memory_bytes | value("bytes") }}</td>
{%- if arenas %}<td class="number">{{ run.arena_bytes | value("bytes") }}</td>{% endif %}</tr>
{% endfor %}
</table></div>
{% if conditions %}
<p>While it was timed:</p>
<ul>{% for line in conditions %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif %}
{% if estimated %}
<h2>Estimated</h2>
<p>A cost model computed these; nothing was run on that hardware.</p>
<div class="scroll"><table>
<tr><th>Cost model</th><th>Accelerator</th><th>Cycles</th><th>ms</th><th>at MHz</th><th>SRAM</th><th>Flash</th>
<th>Operators on it</th><th>Left to the CPU, and not counted</th></tr>
{% for run in estimated %}
<tr><td>{{ run | runtime }}</td><td>{{ run.estimate.accelerator if run.estimate else run.device }}</td>
{% if run.estimate and run.estimate.npu_share > 0 %}
<td class="number">{{ "{:,}".format(run.estimate.cycles) }}</td>
<td class="number">{{ "%.3g" | format(run.estimate.milliseconds) }}</td>
<td class="number">{{ "%g" | format(run.estimate.clock_hz / 1e6) }}</td>
<td class="number">{{ run.estimate.sram_bytes | value("bytes") }}</td>
<td class="number">{{ run.estimate.flash_bytes | value("bytes") }}</td>
{% else %}
{% for _ in range(5) %}<td class="number">–</td>{% endfor %}
{% endif %}
{% if run.estimate %}
<td class="number">{{ "{:.0%}".format(run.estimate.npu_share) }}</td>
<td>{{ run.estimate.cpu_ops | join(", ") or "nothing" }}</td></tr>
{% else %}
<td class="number">–</td><td><pre>{{ run.error or "" }}</pre></td></tr>
{% endif %}
{% endfor %}
</table></div>
{% endif %}
<h2>Size</h2>
<p>{{ report.size.artifact_bytes | value("bytes") }}, {{ "%.4f" | format(report.size.ratio) }} of the source's
{{ report.size.source_float32_bytes | value("bytes") }} of float32 parameters.</p>
<div class="scroll"><table>
<tr><th>Component</th><th>Stored as</th><th>Bytes</th></tr>
{% for part in report.size.components %}
<tr><td>{{ part.name }}</td><td>{{ part.dtype }}</td><td class="number">{{ part.bytes | value("bytes") }}</td></tr>
{% endfor %}
</table></div>
<h2>Notes</h2>
<ul>{% for note in report.notes %}<li>{{ note }}</li>{% endfor %}</ul>
<p><small>“measured” is that runtime on that hardware, “emulated” that runtime under an emulated processor, or an
evaluator of the model's operators in the runtime's place: times of neither say anything about a device. “estimated” is
a cost model. Latencies are of batch 1, timed in turn with the float32
model.</small></p>
</body>
</html>
"""


def render(report: Report) -> str:
    """The page, with every text escaped."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(value=format_value, style=_style, runtime=runtime_name)
    runs = executed(report)
    return str(
        environment.from_string(_PAGE).render(
            report=report,
            executed=runs,
            metric=metric_title(runs),
            estimated=estimated(report),
            conditions=conditions(report),
            arenas=any(run.arena_bytes is not None for run in runs),
        )
    )


def metric_title(runs: Iterable[Run]) -> str:
    """The column of the task's metric: its name, with an arrow where lower is better."""
    found = [run.accuracy for run in runs if run.accuracy is not None]
    if not found or any(one.metric != found[0].metric for one in found):
        return "Accuracy"
    return found[0].metric.capitalize() + ("" if found[0].higher_is_better else " ↓")


def executed(report: Report) -> list[Run]:
    """The runs in which a runtime computed something, here or emulated."""
    return [run for run in report.runs if run.evidence != "estimated"]


def estimated(report: Report) -> list[Run]:
    """Those that a cost model only described: never in one table with the others."""
    return [run for run in report.runs if run.evidence == "estimated"]


def conditions(report: Report) -> list[str]:
    """What boards told of themselves around a timing, a line for each run of which anything is known."""
    lines = []
    for run in report.runs:
        told = [] if run.latency_ms is None else list(_told(run.latency_ms))
        if told:
            lines.append(f"{run.place}: {', '.join(told)}")
    return lines


def _told(latency: Latency) -> Iterator[str]:
    before, after = latency.before or Conditions(), latency.after or Conditions()
    for values, unit in (
        ((before.temperature_c, after.temperature_c), "°C"),
        ((before.frequency_mhz, after.frequency_mhz), "MHz"),
    ):
        known = [None if value is None else f"{value:.1f}" if unit == "°C" else f"{value:.0f}" for value in values]
        if any(known):
            yield f"{known[0] or '–'} {unit} before, {known[1] or '–'} {unit} after"
    if latency.energy_j is not None and latency.float32_energy_j is not None:
        yield f"{latency.energy_j:.3g} J a sample, float32 {latency.float32_energy_j:.3g} J"


def runtime_name(run: Run) -> str:
    """Runtime and version, what stood in for it, and what executes its operators where it has a choice."""
    name = f"{run.runtime} {run.runtime_version}".strip()
    delegate = "no delegate" if run.delegate == "none" else run.delegate
    about = ", ".join(text for text in (run.stand_in, delegate) if text)
    return f"{name} ({about})" if about else name


def format_value(value: float | None, unit: str) -> str:
    """A figure for people; a dash where there is none."""
    if value is None:
        return "–"
    if unit == "bytes":
        return f"{value / 1e6:,.2f} MB" if value >= 1e5 else f"{value:,.0f} B"
    if unit == "operators":
        return f"{value:,.0f}"
    return f"{value:.4f}"


def _style(verdict: str) -> str:
    return verdict.split(maxsplit=1)[0].replace("incomplete", "not")
