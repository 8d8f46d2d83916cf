"""An estimate says what it leaves out, and survives being written."""

import msgspec
import pytest

from edgeexport.estimate import Estimate

FIGURES = {
    "tool": "vela",
    "tool_version": "5.2.0",
    "accelerator": "ethos-u55-128",
    "cycles": 71927,
    "milliseconds": 0.143854,
    "clock_hz": 500_000_000,
    "sram_bytes": 24800,
    "flash_bytes": 34080,
}


def test_it_is_written_and_read():
    estimate = Estimate(**FIGURES, npu_share=0.75, cpu_ops=("FLOOR",))
    assert msgspec.json.decode(msgspec.json.encode(estimate), type=Estimate) == estimate


def test_the_summary_has_the_figures():
    assert Estimate(**FIGURES, npu_share=1.0).summary() == (
        "ethos-u55-128: 71,927 cycles, 0.144 ms at 500 MHz, 24,800 bytes of SRAM, 34,080 of flash"
    )


def test_the_summary_says_what_it_leaves_out():
    partial = Estimate(**FIGURES, npu_share=0.5, cpu_ops=("FLOOR", "DEQUANTIZE"))
    assert partial.summary().endswith("; without FLOOR, DEQUANTIZE, which stay on the CPU")
    nothing = Estimate(**{**FIGURES, "cycles": 0, "milliseconds": 0.0}, npu_share=0.0, cpu_ops=("CONV_2D",))
    assert nothing.summary() == "ethos-u55-128: nothing runs on the accelerator; CONV_2D stay on the CPU"


@pytest.mark.parametrize(("share", "cpu_ops"), [(1.5, ()), (-0.1, ()), (1.0, ("FLOOR",))])
def test_contradictions_are_refused(share, cpu_ops):
    with pytest.raises(ValueError, match=r"npu_share|all operators"):
        Estimate(**FIGURES, npu_share=share, cpu_ops=cpu_ops)
