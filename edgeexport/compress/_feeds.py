"""Calibration samples as a model that is being changed takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from edgeexport.compression import Materials
from edgeexport.preprocess import ArraysPreprocess
from edgeexport.samples import CheckedFeeds, Samples
from edgeexport.source import Editable, Source
from edgeexport.synthetic import synthetic_inputs

Arrays = dict[str, torch.Tensor]


class Feeds:
    """Calibration samples as the model takes them, or one made-up sample, of which no range is taken."""

    def __init__(self, source: Source, editable: Editable, materials: Materials) -> None:
        self.calibrated = materials.calibration is not None
        self._source, self._editable = source, editable
        if materials.calibration is not None:
            least = materials.settings.calibration.minimum_samples if materials.settings is not None else 1
            self._feeds = self._open(materials.calibration, least)

    def _open(self, samples: Samples, least: int) -> CheckedFeeds:
        preprocess: Any = self._source.preprocess if samples.kind != "arrays" else ArraysPreprocess()
        if hasattr(preprocess, "bind"):
            preprocess = preprocess.bind(next(iter(samples)))
        return CheckedFeeds(samples, preprocess, self._source.signature, self._source.assets, least)

    def __len__(self) -> int:
        return len(self._feeds) if self.calibrated else 1

    def __iter__(self) -> Iterator[Arrays]:
        if not self.calibrated:
            yield self.example()
            return
        for arrays in self._feeds:
            yield _tensors(arrays)
        self._feeds.finish()

    def example(self) -> Arrays:
        """The first sample."""
        if self.calibrated:
            return _tensors(next(iter(self._feeds)))
        given = getattr(self._editable.model, "example_inputs", None)  # a factory's module says what it takes
        if given is not None:
            return dict(given)
        config = getattr(self._editable.model, "config", None)
        vocabulary = getattr(config, "vocab_size", None)
        more = {} if vocabulary is None else {"vocabulary": int(vocabulary)}
        return _tensors(synthetic_inputs(self._source.signature, self._source.preprocess, 1, **more)[0])


def _tensors(arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
