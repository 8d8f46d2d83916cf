"""What a recipe may ask for before conversion."""

import msgspec
import pytest

from edgeexport.errors import RecipeError
from edgeexport.pipeline.compressing import stage_from
from edgeexport.stages import STAGES, Distill, Equalize, Gptq, Qat, Training, Vocabulary, name_of


def test_every_method_has_its_structure():
    assert dict(STAGES.items()) == {
        "distill": Distill,
        "vocabulary": Vocabulary,
        "equalize": Equalize,
        "gptq": Gptq,
        "qat": Qat,
    }
    for name, kind in STAGES.items():
        assert name_of(kind()) == name
        assert kind.__struct_config__.frozen


def test_what_is_made_for_a_target():
    assert {name for name, kind in STAGES.items() if kind.for_target} == {"gptq", "qat"}


@pytest.mark.parametrize("name", STAGES)
def test_as_plain_values_and_back(name):
    stage = STAGES[name]()
    values = msgspec.to_builtins(stage)
    assert values.pop("method") == name
    assert stage_from(name, values) == stage


def test_layers_are_a_number_or_numbers():
    assert stage_from("distill", {"layers": 3}).layers == 3
    assert stage_from("distill", {"layers": [0, 2, 5]}).layers == (0, 2, 5)
    assert stage_from("distill", {}).layers is None


def test_defaults_of_a_training():
    training = stage_from("distill", {"training": {"epochs": 6}}).training
    assert training == Training(epochs=6)
    assert (training.batch, training.learning_rate, training.held_out, training.seed) == (32, 1e-4, 0.02, 0)
    assert (Qat().training.epochs, Qat().training.learning_rate) == (1, 2e-5)


@pytest.mark.parametrize(
    ("method", "table", "said"),
    [
        ("distill", {"layer": 3}, "unknown field `layer`"),
        ("distill", {"layers": 0}, "layers"),
        ("distill", {"layers": [-1]}, "layers"),
        ("distill", {"layers": "all"}, "layers"),
        ("distill", {"layers": 2.5}, "layers"),
        ("distill", {"width": 0}, "width"),
        ("distill", {"width": 1.5}, "width"),
        ("distill", {"temperature": 0}, "temperature"),
        ("distill", {"alpha": 1.1}, "alpha"),
        ("distill", {"alpha": -0.1}, "alpha"),
        ("distill", {"hidden": -1}, "hidden"),
        ("distill", {"student": 3}, "student"),
        ("distill", {"training": {"epoch": 1}}, r"unknown field `epoch` - at `\$.training`"),
        ("distill", {"training": {"epochs": 0}}, r"\$.training.epochs"),
        ("distill", {"training": {"batch": 1.5}}, r"\$.training.batch"),
        ("distill", {"training": {"accumulate": 0}}, r"\$.training.accumulate"),
        ("distill", {"training": {"learning_rate": 0}}, r"\$.training.learning_rate"),
        ("distill", {"training": {"warmup": 1.1}}, r"\$.training.warmup"),
        ("distill", {"training": {"held_out": 0.6}}, r"\$.training.held_out"),
        ("distill", {"training": {"seed": -1}}, r"\$.training.seed"),
        ("distill", {"training": {"samples": 0}}, r"\$.training.samples"),
        ("distill", {"training": {"mixed_precision": "fp8"}}, r"\$.training.mixed_precision"),
        ("distill", {"training": {"checkpoint_steps": 0}}, r"\$.training.checkpoint_steps"),
        ("vocabulary", {"minimum_count": 0}, "minimum_count"),
        ("equalize", {"alpha": 2}, "alpha"),
        ("qat", {"ranges": "guessed"}, "ranges"),
    ],
)
def test_values_that_are_refused(method, table, said):
    with pytest.raises(RecipeError, match=said) as raised:
        stage_from(method, table)
    assert raised.value.what.startswith(f"{method}: ")
    kind = Training if "training" in table else STAGES[method]
    assert raised.value.hint == f"Keys: {', '.join(kind.__struct_fields__)}."
