"""Why it is not a quarter, as tables that add up."""

import msgspec
import report_samples as samples

from edgeexport.report import excess_view, html


def test_reasons_add_up_to_what_is_beyond():
    size = samples.size()
    reasons, modules = excess_view.tables(size)
    told = {row[0]: int(row[1].replace(",", "")) for row in reasons.rows}
    whole = told.pop("all")
    assert whole == size.artifact_bytes - size.source_float32_bytes // 4
    assert sum(told.values()) == whole == sum(int(row[2].replace(",", "")) for row in modules.rows)
    assert reasons.caption == "Beyond a quarter, which is 22,715,000 bytes"
    assert told["structure"] == 152_406
    assert reasons.rows[-1] == ("all", f"{whole:+,}", f"{whole / 90_860_000:+.4f}")


def test_a_float_layer_is_named_first():
    _, modules = excess_view.tables(samples.size())
    assert modules.rows[0][:3] == ("bert.encoder.layer.5.output.dense", "float32 weights", f"{3 * 384 * (1536 + 1):+,}")


def test_nothing_is_said_of_what_is_not_known():
    size = samples.size()
    assert excess_view.tables(msgspec.structs.replace(size, modules=())) == (None, None)
    assert excess_view.tables(msgspec.structs.replace(size, source_float32_bytes=0)) == (None, None)
    assert "Beyond a quarter" not in html.render(samples.rich(size=msgspec.structs.replace(size, modules=())))
    assert "+152,406" in html.render(samples.rich())
