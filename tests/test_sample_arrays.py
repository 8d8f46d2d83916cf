"""Arrays in .npy and .npz: rows are exact whatever the storage, nothing is unpickled, and damage is named."""

import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.samples import open_samples

RNG = np.random.default_rng(7)
X = RNG.normal(size=(5, 3, 2)).astype(np.float32)
IDS = RNG.integers(0, 9, (5, 4))


def refused(match: str):
    return pytest.raises(SamplesError, match=re.escape(match))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["label", "labels"])
@pytest.mark.parametrize("labels", [np.arange(5), np.arange(5)[:, None], np.array(list("abcde")), np.linspace(0, 1, 5)])
def test_npz_rows_labels_and_names(tmp_path, save, key, labels):
    save(tmp_path / "s.npz", pixel_values=X, input_ids=IDS, **{key: labels})
    samples = open_samples(tmp_path / "s.npz")
    assert (len(samples), samples.kind, samples.labelled) == (5, "arrays", True)
    for repetition in range(2):
        for index, sample in enumerate(samples):
            assert sample.name == f"s.npz[{index}]"
            assert set(sample.record) == {"pixel_values", "input_ids"}
            for name, whole in (("pixel_values", X), ("input_ids", IDS)):
                row = sample.record[name]
                assert (row.shape, row.dtype) == ((1, *whole.shape[1:]), whole.dtype)
                assert row.tobytes() == whole[index : index + 1].tobytes()
                row[...] = 0  # a copy: the file and the next round must not change
            assert sample.label == labels.ravel()[index].item()
            assert type(sample.label) is type(labels.ravel()[index].item())
        assert index == 4, repetition


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("labels", [X[:, 0], np.asfortranarray(X[:, 0]), X[:, 0].astype(">f8"), IDS, X[:, 0] > 0])
def test_rows_of_numbers_are_labels(tmp_path, save, labels):
    save(tmp_path / "s.npz", x=X, labels=labels)
    samples = open_samples(tmp_path / "s.npz")
    assert samples.labelled
    assert [sample.label for sample in samples] == [tuple(row) for row in labels.tolist()]
    assert [list(sample.record) for sample in samples] == [["x"]] * 5


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("array", [np.asfortranarray(X), X.astype(">f4"), X > 0, X.astype(np.float16), X[:, 0, 0]])
def test_any_order_and_byte_order_gives_native_rows(tmp_path, save, array):
    save(tmp_path / "s.npz", x=array)
    rows = [sample.record["x"] for sample in open_samples(tmp_path / "s.npz")]
    assert all(row.dtype.isnative and row.flags.c_contiguous for row in rows)
    np.testing.assert_array_equal(np.concatenate(rows), array)


def test_npy_is_the_only_input(tmp_path):
    np.save(tmp_path / "s.npy", X)
    samples = open_samples(tmp_path / "s.npy")
    assert [list(sample.record) for sample in samples] == [[""]] * 5
    np.testing.assert_array_equal(np.concatenate([s.record[""] for s in samples]), X)
    assert not samples.labelled
    assert [sample.label for sample in samples] == [None] * 5


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_are_read_one_by_one(tmp_path, save):
    big = np.zeros((64, 1 << 17), np.float32)  # 32 MiB, half a MiB a row
    save(tmp_path / "s.npz", x=big)
    del big
    samples = open_samples(tmp_path / "s.npz")
    tracemalloc.start()
    assert sum(1 for _ in samples) == 64
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": np.array([[1], [1, 2]], dtype=object)}, "'x' holds Python objects"),
        ({"x": np.array([Trap(), Trap()], dtype=object)}, "'x' holds Python objects"),
        ({"x": X, "y": X[:4]}, "first axes differ: x 5, y 4"),
        ({"x": X, "label": np.arange(4)}, "first axes differ: x 5, label 4"),
        ({"x": np.float32(1)}, "'x' has no axis of samples"),
        ({"x": X[:0]}, "'x' is empty (shape [0, 3, 2])"),
        ({"x": X[:, :0]}, "'x' is empty (shape [5, 0, 2])"),
        ({"x": np.array(["a", "b"])}, "'x' has dtype <U1, which is no number"),
        ({"x": np.zeros(3, [("a", "f4")])}, "'x' has dtype [('a', '<f4')], which is no number"),
        ({"x": X, "label": np.arange(5), "labels": np.arange(5)}, "holds both 'label' and 'labels'"),
        ({"x": X, "label": np.zeros((5, 2, 3))}, "'label' has shape [5, 2, 3]"),
        ({"x": X, "label": np.full((5, 2), "a")}, "'label' has shape [5, 2]"),
        ({"x": X, "label": np.zeros((5, 0))}, "'label' is empty (shape [5, 0])"),
        ({"label": np.arange(5)}, "holds no arrays"),
        ({}, "holds no arrays"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, arrays, problem):
    np.savez(tmp_path / "s.npz", **arrays)
    with refused(problem) as error:
        open_samples(tmp_path / "s.npz")
    assert str(tmp_path / "s.npz") in error.value.what
    assert error.value.hint


def test_npy_with_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "s.npy", np.array([Trap()], dtype=object))
    with refused("the array holds Python objects"):
        open_samples(tmp_path / "s.npy")


@pytest.mark.parametrize("name", ["s.npy", "s.npz"])
@pytest.mark.parametrize("data", [b"", b"not an array", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_another_format_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with refused(f"{tmp_path / name}: not an {name[1:]} file"):
        open_samples(tmp_path / name)


def test_a_truncated_npy_is_refused(tmp_path):
    np.save(tmp_path / "s.npy", X)
    data = (tmp_path / "s.npy").read_bytes()
    (tmp_path / "s.npy").write_bytes(data[:-1])
    with refused("shorter than its header says"):
        open_samples(tmp_path / "s.npy")


def test_a_member_that_promises_more_than_it_holds_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.writestr("x.npy", (tmp_path / "x.npy").read_bytes()[:-4])
    with refused("x.npy is shorter than its header says"):
        open_samples(tmp_path / "s.npz")


def test_damage_in_a_compressed_array_is_named_when_it_is_read(tmp_path):
    noise = RNG.integers(0, 256, (4, 1 << 16), np.uint8)
    np.savez_compressed(tmp_path / "s.npz", x=noise)
    data = bytearray((tmp_path / "s.npz").read_bytes())
    for position in range(len(data) // 2, len(data) // 2 + 64):
        data[position] ^= 0xFF
    (tmp_path / "s.npz").write_bytes(data)
    with refused("'x' is damaged"):
        list(open_samples(tmp_path / "s.npz"))
