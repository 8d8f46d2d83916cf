"""Weight files of an ``.mlpackage``: version 2 of coremltools' ``MILBlob`` storage.

A file begins with 64 bytes (number of blobs, version, both uint32). A value's offset points at 64 bytes of metadata:
the sentinel 0xDEADBEEF and the element type as uint32, then size in bytes, offset of the data and padding in bits as
uint64, little-endian. Elements of fewer than 8 bits are packed, the first in the lowest bits.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch

from edgeexport.errors import ModelError
from edgeexport.mil.dtypes import DTYPES, Dtype
from edgeexport.mil.memory import claim

_SENTINEL = 0xDEADBEEF
_VERSION = 2
_HEADER = struct.Struct("<II")
_METADATA = struct.Struct("<IIQQQ")
_BLOCK = 64
_STORED = (
    "",
    *("FLOAT16", "FLOAT32", "UINT8", "INT8", "BFLOAT16", "INT16", "UINT16", "INT4", "UINT1", "UINT2", "UINT4"),
    *("UINT3", "UINT6", "INT32", "UINT32"),
)
"""The specification's element types by their number in a blob's metadata."""
_NUMPY = {
    "fp16": "<f2",
    "fp32": "<f4",
    "fp64": "<f8",
    "bf16": "<u2",
    "bool": "|u1",
    **{
        f"{kind}{bits}": f"{'|' if bits == 8 else '<'}{kind[0]}{bits // 8}"
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}


class BlobFile:
    """One weight file, mapped into memory; tensors of float32 are views of it.

    Raises:
        ModelError: it is empty or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                # A private copy: PyTorch wants writable memory, and a page that is never written costs nothing more.
                self._map = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE)
        except (OSError, ValueError) as error:
            raise ModelError(f"weights in {path.name} cannot be read: {error}") from error
        if len(self._map) < _BLOCK:
            raise ModelError(f"weights in {path.name} are cut off: the file has {len(self._map)} bytes")
        _, version = _HEADER.unpack_from(self._map, 0)
        if version != _VERSION:
            raise ModelError(f"weights in {path.name} are of storage version {version}; version {_VERSION} is read")

    def tensor(self, offset: int, dtype: Dtype, shape: Sequence[int]) -> torch.Tensor:
        """The value whose metadata is at ``offset``.

        Raises:
            ModelError: the offset leads nowhere, or the blob has another type or size than the program says.
        """
        name = self._path.name
        size = len(self._map)
        if not 0 <= offset <= size - _BLOCK:
            raise ModelError(f"a weight is at byte {offset} of {name}, which has {size}")
        sentinel, stored, count, start, _ = _METADATA.unpack_from(self._map, offset)
        if sentinel != _SENTINEL:
            raise ModelError(f"there is no weight at byte {offset} of {name}")
        found = DTYPES.get(_STORED[stored]) if 0 < stored < len(_STORED) else None
        if found != dtype and not (dtype.name == "bool" and found is DTYPES["UINT8"]):
            kind = found.name if found else f"type {stored}"
            raise ModelError(f"the weight at byte {offset} of {name} is {kind}; the program says {dtype.name}")
        wanted = byte_count(dtype, shape)
        if count != wanted or start < 0 or start + count > size:
            raise ModelError(
                f"the weight at byte {offset} of {name} has {count} bytes from byte {start} on; "
                f"{dtype.name}{list(shape)} takes {wanted}, and the file has {size}"
            )
        return decode(memoryview(self._map)[start : start + count], dtype, shape)


def byte_count(dtype: Dtype, shape: Sequence[int]) -> int:
    """Bytes of a tensor in a file, sub-byte elements packed."""
    return -(-prod(shape) * dtype.bits // 8)


def decode(data: bytes | memoryview, dtype: Dtype, shape: Sequence[int]) -> torch.Tensor:
    """A tensor of ``dtype.held`` from the bytes of a file.

    Raises:
        ModelError: it would take more memory than allowed, or the bytes are too few.
    """
    claim(shape, dtype.held.itemsize)
    if len(data) != byte_count(dtype, shape):
        raise ModelError(f"{dtype.name}{list(shape)} takes {byte_count(dtype, shape)} bytes, and there are {len(data)}")
    if dtype.bits < 8:
        return _unpack(data, dtype, prod(shape)).reshape(tuple(shape))
    array = np.frombuffer(data, _NUMPY[dtype.name])
    if dtype.name == "bf16":
        array = (array.astype("<u4") << 16).view("<f4")
    if not array.flags.writeable:
        array = array.copy()
    if array.dtype in (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8")):
        array = array.astype(np.int64)
    return torch.from_numpy(array).to(dtype.held).reshape(tuple(shape))


def _unpack(data: bytes | memoryview, dtype: Dtype, count: int) -> torch.Tensor:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * dtype.bits]
    places = (1 << np.arange(dtype.bits)).astype(np.uint8)
    values = (bits.reshape(count, dtype.bits) * places).sum(1, dtype=np.uint8)
    if dtype.kind == "int":
        sign = 1 << (dtype.bits - 1)
        return torch.from_numpy((values.astype(np.int16) ^ sign).astype(np.int16) - sign).to(dtype.held)
    return torch.from_numpy(values)
