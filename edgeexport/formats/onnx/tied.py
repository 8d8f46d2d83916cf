"""A table that is both the embedding and the output head: stored once, as integers, and read as integers by both.

onnxruntime's quantizer leaves the head of such a model as a float MatMul over the dequantized, transposed table, which
made GPT-2 slower in int8 than in float32. Here are two forms:

- in int8 with one scale a row, that is, one a token: the embedding is the gathered row times its scale, and the head an
  integer product with the transposed table, in which the rows' scales are those of the output channels;
- in blocks of 4 or 8 bits along the rows: the head is ``MatMulNBits``, and the embedding ``GatherBlockQuantized`` on
  the same packed tensor [rows, blocks, bytes], whose last two axes it takes for the row that it gives in blocks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from edgeexport.formats.onnx.blocks import ACCURACY_LEVEL, DOMAIN, pack_blocks
from edgeexport.formats.onnx.embeddings import column_scales, round_to_int8
from edgeexport.formats.onnx.graph import Graph, attribute


def quantize_tied_tables(graph: Graph, left: Collection[str] = ()) -> list[str]:
    """Quantize every table that ``Gather`` and a transposed ``MatMul`` share, no node of ``left`` among them.

    Returns:
        The tables' names.
    """
    tables = [name for name in graph.constants if _is_tied(graph, name, left)]
    for name in tables:
        table = graph.values(name)
        scale = column_scales(table.T)
        graph.add_constant(f"{name}_int8", round_to_int8(table, scale[:, None]))
        graph.add_constant(f"{name}_scale", scale)
        graph.add_constant(f"{name}_zero", np.zeros((), np.int8))
        graph.add_constant(f"{name}_axis", np.array([-1], np.int64))
        replacements: dict[str, list[Any]] = {}
        for user in graph.users[name]:
            if user.op_type == "Gather":
                replacements[user.name] = _embedding(name, user)
                continue
            replacements[user.name] = [
                helper.make_node(
                    "Transpose",
                    [f"{name}_int8"],
                    [f"{name}_transposed"],
                    name=f"{name}_transpose",
                    perm=[1, 0],
                )
            ]
            for head in graph.users[user.output[0]]:
                replacements[head.name] = _head(name, head)
        graph.drop_constants([name])
        graph.replace_nodes(new for node in graph.nodes for new in replacements.get(node.name, [node]))
    return tables


def quantize_tied_blocks(graph: Graph, bits: int, block_size: int, left: Collection[str] = ()) -> list[str]:
    """The same in blocks of ``block_size`` weights of ``bits`` (4 or 8) bits that share a scale.

    A table whose rows are no whole number of blocks is left: its last block would be padded, in the rows as well.

    Returns:
        The tables' names.
    """
    tables = [
        name
        for name in graph.constants
        if _is_tied(graph, name, left) and graph.constants[name].dims[1] % block_size == 0
    ]
    for name in tables:
        packed, scales = pack_blocks(graph.values(name).T, bits, block_size)
        graph.add_constant(f"{name}_blocks", packed)
        graph.add_constant(f"{name}_scales", scales)
        graph.add_constant(f"{name}_axis", np.array([-1], np.int64))
        kind = {"bits": bits, "block_size": block_size}
        replacements: dict[str, list[Any]] = {}
        for user in graph.users[name]:
            if user.op_type == "Gather":
                replacements[user.name] = _embedding_blocks(graph, name, user, kind)
                continue
            replacements[user.name] = []
            for head in graph.users[user.output[0]]:
                replacements[head.name] = [_head_blocks(graph, name, head, kind)]
        graph.drop_constants([name])
        graph.replace_nodes(new for node in graph.nodes for new in replacements.get(node.name, [node]))
    return tables


def _is_tied(graph: Graph, name: str, left: Collection[str]) -> bool:
    users = graph.users[name]
    gathers = [node for node in users if node.op_type == "Gather" and attribute(node, "axis", 0) == 0]
    transposes = [node for node in users if node.op_type == "Transpose"]
    if not graph.is_float_constant(name) or name in graph.outputs or len(graph.constants[name].dims) != 2:
        return False
    if not gathers or len(transposes) != 1 or len(gathers) + 1 != len(users):
        return False
    transposed = transposes[0].output[0]
    heads = graph.users[transposed]
    if any(node.name in left for node in (*users, *heads)):
        return False
    return bool(heads) and all(node.op_type == "MatMul" and node.input[1] == transposed for node in heads)


def _embedding(table: str, gather: Any) -> list[Any]:
    output, ids = gather.output[0], gather.input[1]
    return [
        helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"], name=f"{gather.name}_rows"),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scales"], name=f"{gather.name}_scales"),
        helper.make_node(
            "Unsqueeze",
            [f"{output}_scales", f"{table}_axis"],
            [f"{output}_scale"],
            name=f"{gather.name}_column",
        ),
        helper.make_node(
            "Cast", [f"{output}_int8"], [f"{output}_float"], name=f"{gather.name}_cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output], name=f"{gather.name}_scaled"),
    ]


def _head(table: str, matmul: Any) -> list[Any]:
    """The MatMul as a product of integers, with the activation's range found while running."""
    output, name = matmul.output[0], matmul.name
    quantized = [f"{output}_{part}" for part in ("uint8", "scale", "zero")]
    return [
        helper.make_node("DynamicQuantizeLinear", [matmul.input[0]], quantized, name=f"{name}_quantize"),
        helper.make_node(
            "MatMulInteger",
            [quantized[0], f"{table}_transposed", quantized[2], f"{table}_zero"],
            [f"{output}_int32"],
            name=f"{name}_integer",
        ),
        helper.make_node("Cast", [f"{output}_int32"], [f"{output}_float"], name=f"{name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [quantized[1], f"{table}_scale"], [f"{output}_scales"], name=f"{name}_scales"),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scales"], [output], name=f"{name}_scaled"),
    ]


def _embedding_blocks(graph: Graph, table: str, gather: Any, kind: dict[str, int]) -> list[Any]:
    """The scales get a last axis of one, as the packed rows' blocks have one scale each."""
    output, name = gather.output[0], gather.name
    graph.add_constant(f"{output}_row", np.array([graph.constants[table].dims[1]], np.int64))
    ids = gather.input[1]
    return [
        helper.make_node(
            "Unsqueeze", [f"{table}_scales", f"{table}_axis"], [f"{output}_scales"], name=f"{name}_scales"
        ),
        helper.make_node(
            "GatherBlockQuantized",
            [f"{table}_blocks", ids, f"{output}_scales"],
            [f"{output}_blocks"],
            name=f"{name}_blocks",
            domain=DOMAIN,
            gather_axis=0,
            quantize_axis=2,
            **kind,
        ),
        helper.make_node("Shape", [ids], [f"{output}_ids"], name=f"{name}_ids"),
        helper.make_node(
            "Concat", [f"{output}_ids", f"{output}_row"], [f"{output}_shape"], name=f"{name}_shape", axis=0
        ),
        helper.make_node("Reshape", [f"{output}_blocks", f"{output}_shape"], [output], name=f"{name}_rows"),
    ]


def _head_blocks(graph: Graph, table: str, matmul: Any, kind: dict[str, int]) -> Any:
    rows, columns = graph.constants[table].dims
    return helper.make_node(
        "MatMulNBits",
        [matmul.input[0], f"{table}_blocks", f"{table}_scales"],
        [matmul.output[0]],
        name=matmul.name,
        domain=DOMAIN,
        K=columns,
        N=rows,
        accuracy_level=ACCURACY_LEVEL,
        **kind,
    )
