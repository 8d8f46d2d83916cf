"""What stages pass on and count."""

from edgeexport.progress import Progress, Stage


class Counting(Stage):
    def __init__(self):
        self.steps = []

    def at(self, step):
        self.steps.append(step)


def test_items_pass_and_are_counted_once_each_is_done():
    stage = Counting()
    items = stage.follow(["a", "b", "c"])
    assert next(items) == "a"
    assert stage.steps == []
    assert list(items) == ["b", "c"]
    assert stage.steps == [1, 2, 3]


def test_progress_is_silent_unless_told_otherwise(capsys):
    progress = Progress()
    with progress.stage("working", 2) as stage:
        assert list(stage.follow([1, 2])) == [1, 2]
    progress.say("done")
    assert capsys.readouterr() == ("", "")
