"""The stream of arrays between edgeexport and the runner."""

import json

import numpy as np
import pytest

from edgeexport.runtimes import tensors


def write(folder, samples):
    writer = tensors.Writer(str(folder))
    for sample in samples:
        writer.add(sample)
    writer.close()


def spoil(folder, **changes):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "dtype",
    ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"],
    ids=lambda name: np.dtype(name).name,
)
def test_values_come_back_bit_for_bit(tmp_path, dtype):
    random = np.random.default_rng(0)
    values = np.frombuffer(random.bytes(24 * np.dtype(dtype).itemsize), dtype)
    if dtype == "?":
        values = values.view("u1") % 2 == 1
    samples = [{"a": values.reshape(2, 12)}, {"a": values.reshape(4, 3, 2)}]
    write(tmp_path, samples)
    reader = tensors.Reader(str(tmp_path))
    assert len(reader) == 2
    for read, written in zip(reader, samples, strict=True):
        assert read["a"].dtype == written["a"].dtype
        assert read["a"].shape == written["a"].shape
        assert read["a"].tobytes() == written["a"].tobytes()


def test_special_floats_keep_their_bits(tmp_path):
    values = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, np.float32(1e-45)], np.float32)
    write(tmp_path, [{"a": values}])
    (read,) = tensors.Reader(str(tmp_path))
    assert read["a"].tobytes() == values.tobytes()


def test_files_are_what_the_format_says(tmp_path):
    write(
        tmp_path,
        [
            {"x": np.array([[1, 2]], np.int16), "y": np.array([0.5], np.float32)},
            {"x": np.array([[3]], np.int16), "y": np.array([-2.0], np.float32)},
        ],
    )
    assert (tmp_path / "0.bin").read_bytes() == bytes([1, 0, 2, 0, 3, 0])
    assert (tmp_path / "1.bin").read_bytes() == bytes.fromhex("0000003f000000c0")
    assert json.loads((tmp_path / "index.json").read_text()) == {
        "names": ["x", "y"],
        "dtypes": ["<i2", "<f4"],
        "shapes": [[[1, 2], [1]], [[1, 1], [1]]],
    }


def test_big_endian_and_transposed_arrays_are_written_in_order(tmp_path):
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    write(tmp_path, [{"a": array}])
    (read,) = tensors.Reader(str(tmp_path))
    assert read["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert (tmp_path / "0.bin").read_bytes() == np.array([0, 3, 1, 4, 2, 5], "<i4").tobytes()


def test_empty_arrays_and_empty_streams(tmp_path):
    write(tmp_path / "array", [{"a": np.zeros((0, 3), np.float32)}])
    (read,) = tensors.Reader(str(tmp_path / "array"))
    assert read["a"].shape == (0, 3)
    write(tmp_path / "stream", [])
    assert list(tensors.Reader(str(tmp_path / "stream"))) == []


def test_a_scalar_keeps_its_shape(tmp_path):
    write(tmp_path, [{"loss": np.float32(1.5)}])
    (read,) = tensors.Reader(str(tmp_path))
    assert read["loss"].shape == ()
    assert read["loss"] == 1.5


def test_a_stream_can_be_read_twice(tmp_path):
    write(tmp_path, [{"a": np.array([index])} for index in range(3)])
    reader = tensors.Reader(str(tmp_path))
    assert [int(sample["a"][0]) for sample in reader] == [0, 1, 2]
    assert [int(sample["a"][0]) for sample in reader] == [0, 1, 2]


def test_samples_must_agree_in_names_and_dtypes(tmp_path):
    writer = tensors.Writer(str(tmp_path))
    writer.add({"a": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="sample has"):
        writer.add({"b": np.zeros(2, np.float32)})
    with pytest.raises(TypeError):
        writer.add({"a": np.zeros(2, np.float64)})


@pytest.mark.parametrize("change", [-1, 1], ids=["truncated", "longer"])
def test_a_file_of_another_length_is_refused(tmp_path, change):
    write(tmp_path, [{"a": np.arange(10, dtype=np.float32)}])
    path = tmp_path / "0.bin"
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + b"\0")
    with pytest.raises(ValueError, match=r"0\.bin does not fit"):
        tensors.Reader(str(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"dtypes": ["O"]},
        {"dtypes": ["V8"]},
        {"dtypes": ["f4,f4"]},
        {"dtypes": ["<U4"]},
        {"dtypes": []},
        {"dtypes": ["<f4", "<f4"]},
        {"shapes": [[[-10]]]},
        {"shapes": [[[2.5, 4]]]},
        {"shapes": [[["10"]]]},
        {"shapes": [[[2**62, 2**62]]]},
        {"shapes": [[]]},
        {"names": ["a", "b"], "dtypes": ["<f4", "<f4"]},
    ],
    ids=str,
)
def test_a_malformed_index_is_refused_before_anything_is_allocated(tmp_path, changes):
    write(tmp_path, [{"a": np.arange(10, dtype=np.float32)}])
    spoil(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"malformed|fit"):
        tensors.Reader(str(tmp_path))


def test_an_index_that_is_missing_or_not_json(tmp_path):
    with pytest.raises(FileNotFoundError):
        tensors.Reader(str(tmp_path))
    (tmp_path / "index.json").write_text('{"names": [')
    with pytest.raises(ValueError, match="Expecting"):
        tensors.Reader(str(tmp_path))
