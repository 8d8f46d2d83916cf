"""Lengths that a model does not take; the dimensions themselves are tried with each format."""

import pytest

from edgeexport.errors import RecipeError
from edgeexport.fixed import check_lengths, fixed_dimensions
from edgeexport.pipeline import open_source
from edgeexport.settings import Interface
from edgeexport.source import SourceOptions


@pytest.fixture
def source(tiny_bert):
    return open_source(tiny_bert.model, SourceOptions())


def test_lengths_beyond_a_models_positions_are_refused(source):
    check_lengths(source, (16, 32))
    with pytest.raises(RecipeError, match=r"model does not take texts of 33 tokens.* gives 32 at most") as refused:
        check_lengths(source, (16, 33))
    assert "interface.lengths=[32]" in refused.value.hint


def test_formats_of_fixed_shapes_ask_first(source):
    assert fixed_dimensions(source, Interface(lengths=(32, 16, 16)), "TFLite").lengths == (16, 32)
    with pytest.raises(RecipeError, match="does not take texts of 64 tokens"):
        fixed_dimensions(source, Interface(lengths=(32, 64)), "TFLite")


def test_models_whose_tokenizer_stops_earlier_than_their_positions_take_more(source):
    import msgspec

    source.preprocess = msgspec.structs.replace(source.preprocess, max_length=8)
    check_lengths(source, (8, 32))
