"""ONNX Runtime on the CPU.

A large file is not handed over whole: ONNX Runtime would hold its protobuf beside the weights that it makes of it. Its
graph alone is, with the weights as data that lies in the file, and the runtime maps those. The file stays what it is,
one standard model.
"""

import mmap
import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when it is imported

import onnxruntime

RUNTIME = "onnxruntime"
NEEDS = {"imports": "onnxruntime", "distribution": "onnxruntime", "boards": ("arm64",)}

MAPPED = 1 << 24
"""Bytes of a file from which on its weights are mapped."""
_LEAST = 1 << 12
"""Bytes of a tensor that is worth it."""
_GRAPH, _INITIALIZER, _RAW, _EXTERNAL, _LOCATION = 7, 5, 9, 13, 14
"""Fields of ModelProto, GraphProto and TensorProto (onnx.proto)."""


class Model:
    """One session, sequential, with a fixed number of threads."""

    def __init__(self, path, threads):
        self._session = _mapped(path, threads) or _session(path, _options(threads))
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs)))


def _options(threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _session(model, options):
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _mapped(path, threads):
    """A session whose weights are mapped from a large file; None where that is not possible."""
    model = graph_of(path) if os.path.getsize(path) >= MAPPED else None
    if model is None:
        return None
    options = _options(threads)
    folder = os.path.dirname(os.path.abspath(path))
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    options.enable_cpu_mem_arena = False  # a cache that grows would leave an outgrown block of each size it had
    try:
        return _session(model, options)
    except Exception:  # an older release does not know the folder, and a broken model is explained better by its path
        return None


def load(path, threads):
    """Open the ``.onnx`` file at ``path``."""
    return Model(path, threads)


def info():
    """Name and version for the report."""
    return {"runtime": RUNTIME, "version": onnxruntime.__version__}


def graph_of(path):
    """A model's bytes with its large weights as external data at their places in ``path``.

    None where that cannot be said: weights that are external already, or a file that is no protobuf message.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            parts = []
            for field, start, body, end in _fields(data, 0, len(data)):
                if field == _GRAPH:
                    graph = b"".join(_graph(data, body, end, os.path.basename(path)))
                    parts.append(_length_delimited(_GRAPH, graph))
                else:
                    parts.append(data[start:end])
            return b"".join(parts)
        except (ValueError, IndexError):
            return None


def _graph(data, start, end, name):
    for field, first, body, last in _fields(data, start, end):
        tensor = None
        if field == _INITIALIZER:
            tensor = _tensor(data, body, last, name)
        yield data[first:last] if tensor is None else _length_delimited(_INITIALIZER, tensor)


def _tensor(data, start, end, name):
    """The message with its data outside; None where it stays as it is."""
    kept, place = [], None
    for field, first, body, last in _fields(data, start, end):
        if field in (_EXTERNAL, _LOCATION):
            raise ValueError("external data")
        if field == _RAW:
            place = (body, last - body)
        else:
            kept.append(data[first:last])
    if place is None or place[1] < _LEAST:
        return None
    for key, value in (("location", name), ("offset", str(place[0])), ("length", str(place[1]))):
        entry = _length_delimited(1, key.encode()) + _length_delimited(2, value.encode())
        kept.append(_length_delimited(_EXTERNAL, entry))
    kept.append(_varint(_LOCATION << 3) + _varint(1))
    return b"".join(kept)


def _fields(data, at, end):
    """Number, start, start of the value, and end of each field of a protobuf message."""
    while at < end:
        start = at
        tag, at = _read_varint(data, at)
        kind = tag & 7
        body = at
        if kind == 0:
            _, at = _read_varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, body = _read_varint(data, at)
            at = body + length
        elif kind == 5:
            at += 4
        else:
            raise ValueError("no protobuf message")
        if at > end:
            raise ValueError("cut off")
        yield tag >> 3, start, body, at


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("no protobuf message")


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _length_delimited(field, body):
    return _varint(field << 3 | 2) + _varint(len(body)) + body
