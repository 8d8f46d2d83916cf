"""Whether a student takes and gives what its teacher does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeexport.artifact import file_digest
from edgeexport.compress._objectives import Vectors, objective_of
from edgeexport.errors import ModelError
from edgeexport.preprocess import to_dict
from edgeexport.source import Source
from edgeexport.text_features import TOKENIZER_FILE


def check_alike(teacher: Source, student: Source) -> None:
    """Refuse a student that takes or gives something else than its teacher.

    Raises:
        ModelError: naming the difference.
    """
    for what, theirs, mine in _compared(teacher, student):
        if theirs != mine:
            said = "" if what == "tokenizer.json" else f": {theirs} and {mine}"
            raise ModelError(
                f"the teacher {teacher.name} and the student {student.name} differ in their {what}{said}",
                "A student learns from what its teacher gives for the same inputs: make them alike.",
            )


def _compared(teacher: Source, student: Source) -> Iterator[tuple[str, Any, Any]]:
    yield "task", teacher.task, student.task
    yield "class names", teacher.labels, student.labels
    yield "inputs", *_inputs(teacher, student)
    yield "outputs", _outputs(teacher), _outputs(student)
    yield "tokenizer.json", _tokenizer(teacher), _tokenizer(student)
    yield "preprocessing", *_preprocessing(teacher, student)


def _inputs(teacher: Source, student: Source) -> tuple[Any, Any]:
    """Names, types and shapes. A student may do without some of its teacher's, as DistilBERT does without BERT's
    token types."""
    theirs, mine = (
        {spec.name: [spec.dtype, *(size if isinstance(size, int) else "any" for size in spec.shape)] for spec in inputs}
        for inputs in (teacher.signature.inputs, student.signature.inputs)
    )
    return {name: theirs[name] for name in theirs if name in mine or not mine.keys() < theirs.keys()}, mine


def _outputs(source: Source) -> list[Any]:
    """Name and rank of the first output, and the number of classes or tokens; an embedding may have another size."""
    first = source.signature.outputs[0]
    vectors = isinstance(objective_of(source), Vectors)
    return [first.name, len(first.shape), None if vectors else first.shape[-1]]


def _tokenizer(source: Source) -> str | None:
    path = None if source.assets is None else source.assets / TOKENIZER_FILE
    return None if path is None or not path.is_file() else file_digest(path)


def _preprocessing(teacher: Source, student: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of it differs."""
    theirs, mine = (to_dict(side.preprocess) for side in (teacher, student))
    for one in (theirs, mine):
        one.pop("inputs", None)  # compared as such
    different = {key for key in (*theirs, *mine) if theirs.get(key) != mine.get(key)}
    return tuple({key: one.get(key) for key in sorted(different)} for one in (theirs, mine))  # type: ignore[return-value]
