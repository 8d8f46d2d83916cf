"""Text lines, tables and folders: what is read, in which order, and every sentence about what is wrong."""

import re
from pathlib import Path

import pytest

from edgeexport.errors import SamplesError
from edgeexport.samples import Sample, open_samples


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refused(match: str):
    return pytest.raises(SamplesError, match=re.escape(match))


def test_jsonl_gives_records_and_labels_as_they_are(tmp_path):
    lines = '\ufeff{"text": "a", "n": 1, "label": 2}\n\n  \n{"text": "é", "label": "cat"}\r\n'
    lines += '{"text": "c", "label": 0.5}'
    samples = open_samples(write(tmp_path / "s.jsonl", lines))
    assert list(samples) == [
        Sample("s.jsonl line 1", {"text": "a", "n": 1}, 2),
        Sample("s.jsonl line 4", {"text": "é"}, "cat"),
        Sample("s.jsonl line 5", {"text": "c"}, 0.5),
    ]
    assert (len(samples), samples.kind, samples.labelled) == (3, "text", True)
    assert list(samples) == list(samples)


@pytest.mark.parametrize("second", ['{"text": "b"}', '{"text": "b", "label": null}'])
def test_one_missing_label_makes_a_set_unlabelled(tmp_path, second):
    samples = open_samples(write(tmp_path / "s.jsonl", '{"text": "a", "label": 1}\n' + second))
    assert not samples.labelled
    assert [sample.label for sample in samples] == [1, None]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "b"', "not JSON (Input data was truncated)"),
        (b'{"text": NaN}', "not JSON"),
        (b'{"text": "\xff"}', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'["b"]', "not a JSON object"),
        (b'{"text": "b", "label": []}', "'label' is neither a number, a string nor a list of numbers"),
        (b'{"text": "b", "label": [1, "2"]}', "'label' is neither a number, a string nor a list of numbers"),
        (b'{"text": "b", "label": [[1]]}', "'label' is neither a number, a string nor a list of numbers"),
        (b'{"text": "b", "label": [null]}', "'label' is neither a number, a string nor a list of numbers"),
        (b'{"text": "b", "label": {"x": 1}}', "'label' is neither a number, a string nor a list of numbers"),
    ],
)
def test_a_bad_line_is_named_when_the_file_is_opened(tmp_path, line, problem):
    path = write(tmp_path / "s.jsonl", b'{"text": "a"}\n\n' + line + b"\n")
    with refused(f"{path} line 3: {problem}") as error:
        open_samples(path)
    assert '{"text": "a fine film", "label": 1}' in error.value.hint


def test_csv_keeps_text_and_counts_physical_lines(tmp_path):
    text = '\ufeffsentence,other,label\r\n"a, ""b""",x,1\r\n"two\r\nlines",y,007\r\n\r\nc,z,'
    samples = open_samples(write(tmp_path / "s.csv", text))
    assert list(samples) == [
        Sample("s.csv line 2", {"sentence": 'a, "b"', "other": "x"}, "1"),
        Sample("s.csv line 3", {"sentence": "two\r\nlines", "other": "y"}, "007"),
        Sample("s.csv line 6", {"sentence": "c", "other": "z"}, None),
    ]
    assert not samples.labelled


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n3\n", "line 3: 1 values under a header of 2"),
        ("a,b\n1,2,3\n", "line 2: 3 values under a header of 2"),
        ("a,,b\n", "line 1: the header ['a', '', 'b'] has an empty or repeated name"),
        ("a,a\n", "line 1: the header ['a', 'a'] has an empty or repeated name"),
        ('a\n"b" c\n', "line 2: not CSV"),
        ("a,label_0,label_2\nx,1,2\n", "line 1: the header has the column 'label_2' beside label_0, label_1"),
        ("a,label,label_0\nx,1,2\n", "line 1: the header has the column 'label' beside label_0"),
        ("a,label_0,label_1\nx,1,2\ny,1,\n", "line 3: 'label_1' is empty and other numbers of the label are not"),
        ('a\n"b\n', "line 2: not CSV"),
    ],
)
def test_a_bad_table_is_named_when_it_is_opened(tmp_path, text, problem):
    path = write(tmp_path / "s.csv", text)
    with refused(f"{path} {problem}"):
        open_samples(path)


def test_jsonl_labels_of_several_numbers(tmp_path):
    lines = '{"text": "a", "label": [1, 0.5]}\n{"text": "b", "label": [-2]}\n'
    samples = open_samples(write(tmp_path / "s.jsonl", lines))
    assert samples.labelled
    assert [(sample.record, sample.label) for sample in samples] == [({"text": "a"}, (1, 0.5)), ({"text": "b"}, (-2,))]


def test_csv_labels_of_several_numbers_are_in_the_order_of_their_names(tmp_path):
    columns = [f"label_{number}" for number in range(11)]
    text = ",".join(["a", *reversed(columns)]) + "\nx," + ",".join(map(str, reversed(range(11)))) + "\ny" + "," * 11
    samples = open_samples(write(tmp_path / "s.csv", text + "\n"))
    assert list(samples) == [
        Sample("s.csv line 2", {"a": "x"}, tuple(map(str, range(11)))),
        Sample("s.csv line 3", {"a": "y"}, None),
    ]
    assert not samples.labelled


def test_csv_columns_that_only_begin_like_labels_are_records(tmp_path):
    samples = open_samples(write(tmp_path / "s.csv", "a,label_x,label_01,label_1\nx,1,2,3\n"))
    assert [(sample.record, sample.label) for sample in samples] == [
        ({"a": "x", "label_x": "1", "label_01": "2", "label_1": "3"}, None)
    ]


def test_csv_must_be_utf8(tmp_path):
    with refused("s.csv: not UTF-8 (invalid continuation byte)"):
        open_samples(write(tmp_path / "s.csv", b"a\ncaf\xe9s\n"))


def test_subfolders_are_labels_in_sorted_order(tmp_path):
    for name in ("dog/b.PNG", "cat/z.jpg", "cat/a.jpeg", ".git/x", "cat/.DS_Store"):
        write(tmp_path / "set" / name, "")
    samples = open_samples(tmp_path / "set")
    assert list(samples) == [
        Sample("set/cat/a.jpeg", tmp_path / "set/cat/a.jpeg", "cat"),
        Sample("set/cat/z.jpg", tmp_path / "set/cat/z.jpg", "cat"),
        Sample("set/dog/b.PNG", tmp_path / "set/dog/b.PNG", "dog"),
    ]
    assert (len(samples), samples.kind, samples.what, samples.labelled) == (
        3,
        "image",
        "an image folder",
        True,
    )


def test_a_flat_image_folder_has_labels_only_by_a_pattern(tmp_path):
    for name in ("cat-1.png", "dog-2.png"):
        write(tmp_path / name, "")
    assert [sample.label for sample in open_samples(tmp_path)] == [None, None]
    by_pattern = open_samples(tmp_path, r"^(?P<label>[a-z]+)-")
    assert [sample.label for sample in by_pattern] == ["cat", "dog"]
    assert by_pattern.labelled


def test_recordings_have_labels_from_their_names(tmp_path):
    for name in ("3_george_12.wav", "0_theo_1.wav"):
        write(tmp_path / name, "")
    samples = open_samples(tmp_path)
    assert [sample.label for sample in samples] == ["0", "3"]
    assert (samples.kind, samples.what, samples.labelled) == ("audio", "an audio folder", True)
    assert [s.label for s in open_samples(tmp_path, r"_(?P<label>\w+)_")] == ["theo", "george"]
    write(tmp_path / "noname.wav", "")
    assert [sample.label for sample in open_samples(tmp_path)] == ["0", "3", None]
    assert not open_samples(tmp_path).labelled


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["a.png", "cat/b.png"], "holds both files (a.png) and folders (cat)"),
        (["cat/deep/b.png"], "cat holds a folder (deep)"),
        (["cat/.hidden"], "cat is empty"),
        (["a.png", "b.wav"], "mixes images and recordings"),
        (["a.png", "notes.txt"], "notes.txt is neither an image nor a .wav file"),
        ([".hidden"], "holds no samples"),
    ],
)
def test_a_mixed_folder_is_refused(tmp_path, files, problem):
    for name in files:
        write(tmp_path / "set" / name, "")
    with refused(problem) as error:
        open_samples(tmp_path / "set")
    assert str(tmp_path / "set") in error.value.what
    assert error.value.hint


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "the label pattern '(' is no regular expression"),
        ("(.)", "the label pattern '(.)' has no group named 'label'"),
        ("(?P<label>x)", "a_1.wav does not match the label pattern"),
    ],
)
def test_a_pattern_that_was_given_must_work(tmp_path, pattern, problem):
    write(tmp_path / "a_1.wav", "")
    with refused(problem):
        open_samples(tmp_path, pattern)


def test_a_pattern_contradicts_subfolders_and_files(tmp_path):
    write(tmp_path / "set/cat/a.png", "")
    with refused("subfolders give the labels, so a label pattern contradicts them"):
        open_samples(tmp_path / "set", "(?P<label>.)")
    with refused("a label pattern is for folders of files"):
        open_samples(write(tmp_path / "s.jsonl", "{}"), "(?P<label>.)")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("none.jsonl", "no such file or folder"), ("s.parquet", "samples cannot be read from '.parquet' files")],
)
def test_missing_and_unknown_files(tmp_path, name, problem):
    write(tmp_path / "s.parquet", "PAR1")
    with refused(f"{tmp_path / name}: {problem}"):
        open_samples(tmp_path / name)


@pytest.mark.parametrize(("name", "data"), [("s.jsonl", ""), ("s.jsonl", "\n\n"), ("s.csv", ""), ("s.csv", "a,b\n")])
def test_an_empty_file_is_refused(tmp_path, name, data):
    with refused(f"{tmp_path / name} holds no samples"):
        open_samples(write(tmp_path / name, data))


def test_a_file_that_vanishes_is_named(tmp_path):
    samples = open_samples(write(tmp_path / "s.jsonl", "{}"))
    (tmp_path / "s.jsonl").unlink()
    with refused(f"{tmp_path / 's.jsonl'} cannot be read: No such file or directory"):
        list(samples)
    with refused("cannot be read"):
        samples.digest()
