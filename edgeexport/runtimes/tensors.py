"""A stream of named arrays in a folder: written and read one sample at a time, in any number.

``index.json`` holds ``{"names": [...], "dtypes": [...], "shapes": [[shape per name] per sample]}``; ``N.bin`` holds
the values of the N-th name, all samples after each other, little-endian, C order. Nothing is executed on reading,
and sizes are checked against the files before anything is allocated.
"""

import json
import os

import numpy as np

_KINDS = "biuf"


class Writer:
    """Append samples to a folder; :meth:`close` writes the index. All samples must have the same names."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self._folder = folder
        self._files = []
        self._index = {"names": [], "dtypes": [], "shapes": []}

    def add(self, arrays):
        """Append one sample, a dict of arrays."""
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in _KINDS:
                raise ValueError(f"'{name}' holds {array.dtype} values, which are not numbers")
        if not self._index["names"]:
            self._index["names"] = list(arrays)
            self._index["dtypes"] = [array.dtype.newbyteorder("<").str for array in arrays.values()]
            self._files = [open(self._path(number), "wb") for number in range(len(arrays))]
        if list(arrays) != self._index["names"]:
            raise ValueError(f"sample has {list(arrays)}, the stream {self._index['names']}")
        for file, dtype, array in zip(self._files, self._index["dtypes"], arrays.values()):
            file.write(array.astype(dtype, casting="equiv", copy=False).tobytes())
        self._index["shapes"].append([list(array.shape) for array in arrays.values()])

    def close(self):
        """Flush the values and write the index."""
        for file in self._files:
            file.close()
        with open(os.path.join(self._folder, "index.json"), "w") as file:
            json.dump(self._index, file)

    def _path(self, number):
        return os.path.join(self._folder, f"{number}.bin")


class Reader:
    """Iterate over the samples of a folder; each is a dict of arrays.

    Raises ValueError where the index is malformed or does not fit the files.
    """

    def __init__(self, folder):
        with open(os.path.join(folder, "index.json")) as file:
            index = json.load(file)
        self._folder = folder
        self._names = [str(name) for name in index["names"]]
        self._dtypes = [np.dtype(str(dtype)) for dtype in index["dtypes"]]
        self._shapes = index["shapes"]
        self._check()

    def __len__(self):
        return len(self._shapes)

    def __iter__(self):
        files = [open(self._path(number), "rb") for number in range(len(self._names))]
        try:
            for shapes in self._shapes:
                yield {
                    name: self._read(file, dtype, shape)
                    for name, file, dtype, shape in zip(self._names, files, self._dtypes, shapes)
                }
        finally:
            for file in files:
                file.close()

    def _read(self, file, dtype, shape):
        data = file.read(_count(shape) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(shape)

    def _check(self):
        if len(self._names) != len(self._dtypes) or any(dtype.kind not in _KINDS for dtype in self._dtypes):
            raise ValueError(f"{self._folder}: malformed index")
        if any(len(shapes) != len(self._names) for shapes in self._shapes):
            raise ValueError(f"{self._folder}: a sample has not one shape for each name")
        for number, dtype in enumerate(self._dtypes):
            wanted = sum(_count(shapes[number]) for shapes in self._shapes) * dtype.itemsize
            if wanted != os.path.getsize(self._path(number)):
                raise ValueError(f"{self._folder}: {number}.bin does not fit the index")

    def _path(self, number):
        return os.path.join(self._folder, f"{number}.bin")


def _count(shape):
    count = 1
    for length in shape:
        if not isinstance(length, int) or length < 0:
            raise ValueError(f"malformed shape {shape}")
        count *= length
    return count
