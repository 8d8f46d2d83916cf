"""Rounding put into a graph, by torchao's PT2E."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgeexport.compress._fake_quant import INTEGERS, ActivationSteps, ConstantSteps, Mode, TableSteps, WeightSteps
from edgeexport.compress._graph import MOVES, op_name
from edgeexport.compress._plan import Kind, Plan
from edgeexport.scheme import Scheme
from edgeexport.settings import Settings

_LEAST_VARIANCE = 1e-10


class SchemeQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates a graph with a plan.

    Args:
        plan: what is rounded.
        scheme: the format's.
        settings: with types and granularity.
        masks: nodes that mask attention.
        learned: whether activation ranges are trained.
    """

    def __init__(
        self, plan: Plan, scheme: Scheme, settings: Settings, masks: list[Node], learned: bool = False
    ) -> None:
        super().__init__()
        self._plan, self._scheme, self._rules, self._learned = plan, scheme, settings.quantization, learned
        self._masked = _behind(masks)

    def annotate(self, model: GraphModule) -> GraphModule:
        """See torchao's ``Quantizer``."""
        inputs: dict[Node, dict[Node, QuantizationSpec]] = {}
        for (other, node), kind in self._plan.edges.items():
            inputs.setdefault(node, {})[other] = self._spec(kind, other, node)
        outputs = {node: self._spec("activation", node, node) for node in self._plan.outputs}
        outputs.update({node: self._table() for node in self._plan.tables})
        for node in model.graph.nodes:
            if node in inputs or node in outputs:
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                    input_qspec_map=inputs.get(node, {}), output_qspec=outputs.get(node), _annotated=True
                )
        return model

    def validate(self, model: GraphModule) -> None:
        """See torchao's ``Quantizer``."""

    def _spec(self, kind: Kind, value: Node, reader: Node) -> QuantizationSpec:
        if kind in ("activation", "constant"):
            least, most = INTEGERS[self._rules.activation_type]
            dtype = getattr(torch, self._rules.activation_type)
            made = ActivationSteps if kind == "activation" else ConstantSteps
            options: dict[str, Any] = {}
            if kind == "activation":
                options = {
                    "fixed": self._scheme.fixed.get(op_name(value)),
                    "masked": (self._rules.mask_value or -1e30) / 2 if value in self._masked else None,
                    "learned": self._learned,
                }
        else:
            most = 63 if self._rules.reduce_range and kind == "weight" else 127
            least, dtype, made = -most, torch.int8, WeightSteps
            options = {"axis": None if kind == "vector" else self._axis(reader)}
        return QuantizationSpec(
            dtype=dtype,
            observer_or_fake_quant_ctr=made.with_args(**options),
            quant_min=least,
            quant_max=most,
            qscheme=torch.per_tensor_affine,
        )

    def _table(self) -> QuantizationSpec:
        axis = self._scheme.table_axis if self._rules.hybrid_per_channel else None
        return QuantizationSpec(
            dtype=torch.int8,
            observer_or_fake_quant_ctr=TableSteps.with_args(axis=axis),
            quant_min=-127,
            quant_max=127,
            qscheme=torch.per_tensor_affine,
        )

    def _axis(self, reader: Node) -> int | None:
        if not self._rules.per_channel:
            return None
        name = op_name(reader)
        if name in ("matmul", "bmm"):
            weight: Any = reader.args[1]
            return int(weight.meta["val"].ndim) - 1
        return 1 if name.startswith("conv_transpose") else 0


def prepare(module: GraphModule, quantizer: SchemeQuantizer) -> GraphModule:
    """The graph with rounding put in, still passing values through; see :func:`set_mode`."""
    prepared: GraphModule = prepare_qat_pt2e(module, quantizer)
    _keep_finite(prepared)
    named: dict[str, Any] = dict(prepared.named_parameters())
    for node in prepared.graph.nodes:
        made = prepared.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(made, TableSteps):
            made.reads(named[node.args[0].args[0].target])
    return prepared


def _keep_finite(prepared: GraphModule) -> None:
    """Hold the variances that rounding makes zero just above it.

    The result is far outside its range either way, and clamped; a gradient of nothing times infinity would be none.
    """
    for node in list(prepared.graph.nodes):
        if op_name(node) == "rsqrt":
            with prepared.graph.inserting_before(node):
                held = prepared.graph.call_function(torch.ops.aten.clamp_min.default, (node.args[0], _LEAST_VARIANCE))
            node.replace_input_with(node.args[0], held)
    prepared.recompile()


def rounders(module: torch.nn.Module) -> Iterator[ActivationSteps | WeightSteps]:
    """What rounds, each once."""
    for part in module.modules():
        if isinstance(part, ActivationSteps | WeightSteps):
            yield part


def activations(module: torch.nn.Module) -> Mapping[str, ActivationSteps]:
    """Those that round activations, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, ActivationSteps)}


def set_mode(module: torch.nn.Module, mode: Mode) -> None:
    """Make all of a module's rounders do this."""
    for part in rounders(module):
        part.mode = mode


def _behind(masks: list[Node]) -> set[Node]:
    """The nodes whose results a mask is in: up to the softmax, which takes it out again."""
    found: set[Node] = set()
    waiting = list(masks)
    while waiting:
        node = waiting.pop()
        if node in found or op_name(node) in ("softmax", "_softmax"):
            continue
        found.add(node)
        waiting += [user for user in node.users if op_name(user) in (*MOVES, "add", "where", "masked_fill", "mul")]
    return found
