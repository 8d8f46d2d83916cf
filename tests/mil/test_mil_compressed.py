"""Packages that coremltools compressed give what coremltools' own decompression of them gives."""

import numpy as np
import pytest
import torch

from edgeexport import mil
from edgeexport.mil.model import functions

SHAPE = (1, 8, 6, 6)


class _Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(8, 32, 3, padding=1)
        self.point = torch.nn.Conv2d(32, 16, 1)

    def forward(self, x):
        return self.point(self.conv(x))


@pytest.fixture(scope="module")
def converted():
    ct = pytest.importorskip("coremltools")
    torch.manual_seed(3)
    traced = torch.jit.trace(_Net().eval(), torch.zeros(SHAPE))
    return {
        ios: ct.convert(
            traced,
            inputs=[ct.TensorType("x", SHAPE)],
            outputs=[ct.TensorType("y")],
            minimum_deployment_target=getattr(ct.target, f"iOS{ios}"),
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        for ios in (16, 17, 18)
    }


def _config(kind, **options):
    from coremltools.optimize import coreml as cto

    return cto.OptimizationConfig(global_config=getattr(cto, f"Op{kind}Config")(weight_threshold=0, **options))


def _quantized(model, joint=False, **options):
    from coremltools.optimize import coreml as cto

    config = _config("LinearQuantizer", **options)
    return (
        cto.linear_quantize_weights(model, config, joint_compression=True)
        if joint
        else (cto.linear_quantize_weights(model, config))
    )


def _palettized(model, joint=False, **options):
    from coremltools.optimize import coreml as cto

    config = _config("Palettizer", mode=options.pop("mode", "uniform"), **options)
    return (
        cto.palettize_weights(model, config, joint_compression=True)
        if joint
        else (cto.palettize_weights(model, config))
    )


def _pruned(model):
    from coremltools.optimize import coreml as cto

    return cto.prune_weights(model, _config("MagnitudePruner", target_sparsity=0.6))


WAYS = {
    "int8 by channel, iOS 16": (16, {"constexpr_affine_dequantize"}, _quantized),
    "int8 by channel, iOS 17": (17, {"constexpr_affine_dequantize"}, _quantized),
    "uint8, iOS 17": (17, {"constexpr_affine_dequantize"}, lambda m: _quantized(m, mode="linear", dtype="uint8")),
    "int8 by channel, iOS 18": (
        18,
        {"constexpr_blockwise_shift_scale"},
        lambda m: _quantized(m, mode="linear_symmetric", granularity="per_channel"),
    ),
    "int4 by block": (
        18,
        {"constexpr_blockwise_shift_scale"},
        lambda m: _quantized(m, dtype="int4", granularity="per_block", block_size=4),
    ),
    "uint4 by block": (
        18,
        {"constexpr_blockwise_shift_scale"},
        lambda m: _quantized(m, mode="linear", dtype="uint4", granularity="per_block", block_size=8),
    ),
    "4 bits, iOS 16": (16, {"constexpr_lut_to_dense"}, lambda m: _palettized(m, nbits=4)),
    "2 bits, iOS 17": (17, {"constexpr_lut_to_dense"}, lambda m: _palettized(m, nbits=2)),
    "6 bits, iOS 17": (17, {"constexpr_lut_to_dense"}, lambda m: _palettized(m, nbits=6)),
    "4 bits, iOS 18": (18, {"constexpr_lut_to_dense"}, lambda m: _palettized(m, nbits=4)),
    "3 bits by group of channels": (
        18,
        {"constexpr_lut_to_dense"},
        lambda m: _palettized(m, nbits=3, granularity="per_grouped_channel", group_size=8),
    ),
    "vectors": (18, {"constexpr_lut_to_dense"}, lambda m: _palettized(m, mode="kmeans", nbits=2, cluster_dim=4)),
    "sparse, iOS 16": (16, {"constexpr_sparse_to_dense"}, _pruned),
    "sparse, iOS 18": (18, {"constexpr_sparse_to_dense"}, _pruned),
    "sparse and quantized": (
        18,
        {"constexpr_sparse_blockwise_shift_scale", "constexpr_sparse_to_dense"},
        lambda m: _quantized(_pruned(m), joint=True),
    ),
    "sparse and in a table": (
        18,
        {"constexpr_lut_to_sparse", "constexpr_sparse_to_dense"},
        lambda m: _palettized(_pruned(m), joint=True, nbits=4),
    ),
    "in a table of int8": (
        18,
        {"constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"},
        lambda m: _quantized(_palettized(m, nbits=4), joint=True, granularity="per_tensor"),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_compressed_package(way, converted, tmp_path):
    from coremltools.optimize import coreml as cto

    ios, operators, compress = WAYS[way]
    compressed = compress(converted[ios])
    compressed.save(str(tmp_path / "compressed.mlpackage"))
    cto.decompress_weights(compressed).save(str(tmp_path / "plain.mlpackage"))
    x = {"x": np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)}
    program = functions(tmp_path / "compressed.mlpackage")
    assert operators <= {operation.op for operation in program[0].block.operations}
    found = mil.load(tmp_path / "compressed.mlpackage")(x)["y"]
    plain = mil.load(tmp_path / "plain.mlpackage")(x)["y"]
    assert np.abs(plain).max() > 0.01
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6 * np.abs(plain).max())
