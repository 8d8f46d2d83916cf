"""What a cost model says of hardware that is not at hand."""

from __future__ import annotations

import msgspec


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a cost model: ``estimated``, never measured.

    Where ``cpu_ops`` names any, they are left out of cycles and memory, and the inference takes longer than is said.

    Attributes:
        tool, tool_version: the model that gave them.
        accelerator: what it describes.
        cycles: of one inference, at batch 1; 0 where nothing runs on the accelerator.
        milliseconds: the same at ``clock_hz``.
        clock_hz: of the accelerator.
        sram_bytes: of on-chip memory that one inference needs.
        flash_bytes: of the memories beside it, flash and DRAM, that hold the constants.
        npu_share: share of the operators that run on the accelerator.
        cpu_ops: operators that do not, by name.
    """

    tool: str
    tool_version: str
    accelerator: str
    cycles: int
    milliseconds: float
    clock_hz: float
    sram_bytes: int
    flash_bytes: int
    npu_share: float
    cpu_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse figures that contradict each other."""
        if not 0 <= self.npu_share <= 1:
            raise ValueError(f"npu_share is {self.npu_share}, not a share")
        if self.npu_share == 1 and self.cpu_ops:
            raise ValueError(f"all operators run on the accelerator, and {', '.join(self.cpu_ops)} do not")

    def summary(self) -> str:
        """One line for people, which says what was left out."""
        if self.npu_share == 0:
            return f"{self.accelerator}: nothing runs on the accelerator; {', '.join(self.cpu_ops)} stay on the CPU"
        line = (
            f"{self.accelerator}: {self.cycles:,} cycles, {self.milliseconds:.3g} ms at {self.clock_hz / 1e6:g} MHz, "
            f"{self.sram_bytes:,} bytes of SRAM, {self.flash_bytes:,} of flash"
        )
        if self.cpu_ops:
            line += f"; without {', '.join(self.cpu_ops)}, which stay on the CPU"
        return line
