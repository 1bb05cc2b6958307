"""How gates are read, and what is said of those that cannot be."""

import pytest

from darkroom.base.errors import InputError
from darkroom.comparison.gate import Gate, check_metric, check_revision, read_gate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test.accuracy >= main - 0.005", ("test", "accuracy", True, "main", -0.005)),
        ("val.f1_macro>=HEAD~1 + .01", ("val", "f1_macro", True, "HEAD~1", 0.01)),
        ("test.loss <= main + 1e-3", ("test", "loss", False, "main", 0.001)),
        ("test.loss <= release-1.2", ("test", "loss", False, "release-1.2", 0)),
        ("test.accuracy >= release-1.2 - 0.01", ("test", "accuracy", True, "release-1.2", -0.01)),
        ("test.accuracy >= 0.95", ("test", "accuracy", True, None, 0.95)),
        ("test.my_metric <= -2", ("test", "my_metric", False, None, -2)),
        ("test.accuracy >= origin/main", ("test", "accuracy", True, "origin/main", 0)),
        # Seven digits may begin a commit, and so may what looks like a number of the tenth power.
        ("test.accuracy >= 1234567", ("test", "accuracy", True, "1234567", 0)),
        ("test.accuracy >= 1234e56 - 0.01", ("test", "accuracy", True, "1234e56", -0.01)),
        ("  test.accuracy >= main  ", ("test", "accuracy", True, "main", 0)),
    ],
)
def test_gates(text: str, expected: tuple[object, ...]) -> None:
    assert read_gate(text) == Gate(text.strip(), *expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no condition; write 'SPLIT.METRIC >= REV - MARGIN'"),
        ("test.accuracy", "'test.accuracy' is no condition; write "),
        ("test.accuracy >=", "'test.accuracy >=' is no condition; write "),
        ("test.accuracy > main", "'test.accuracy > main' has the sign >; write >="),
        ("test.loss < main", "'test.loss < main' has the sign <; write <="),
        ("test.accuracy == 0.9", "'test.accuracy == 0.9' has the sign ==; write >= or <="),
        ("test.accuracy => 0.9", "'test.accuracy => 0.9' has the sign =>; write >="),
        ("accuracy >= main", "'accuracy' is not SPLIT.METRIC; write 'test.accuracy'"),
        ("test >= main", "'test' is not SPLIT.METRIC; write 'test.accuracy'"),
        ("test. >= main", "test.: names no metric; write 'test.accuracy'"),
        ("tset.accuracy >= main", "tset.accuracy: there is no split 'tset'; did you mean 'test'?"),
        ("train.accuracy >= main", "train.accuracy: there is no split 'train'; there are test and val"),
        ("test.accuracy >= main - x", "the margin 'x' is no number; write it as 0.005"),
        ("test.accuracy >= main - -1", "the margin '-1' is no number; write it as 0.005"),
        ("test.accuracy >= main * 0.9", "'main * 0.9' is neither a number nor a revision with a margin; write "),
        ("test.accuracy >= main - 0.5 %", "'main - 0.5 %' is neither a number nor a revision with a margin; write "),
        (
            "test.loss >= main - 0.01",
            "'test.loss >= main - 0.01' would refuse what is better, since a smaller loss is; write 'test.loss <= main + 0.01'",
        ),
        (
            "test.accuracy <= 0.9",
            "'test.accuracy <= 0.9' would refuse what is better, since a larger accuracy is; write 'test.accuracy >= 0.9'",
        ),
    ],
)
def test_what_is_no_gate(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_gate(text)
    assert str(error.value).startswith(f"--gate: {message}")


def test_unknown_metrics() -> None:
    gate = read_gate("test.acuracy >= 0.9")
    with pytest.raises(InputError, match=r"^--gate: main has no metric 'acuracy' on test; did you mean 'test\.accuracy'\?$"):
        check_metric(gate, "main", ["loss", "accuracy"])
    with pytest.raises(InputError, match=r"^--gate: main has no metrics on test; write 'val\.acuracy'$"):
        check_metric(gate, "main", [])
    check_metric(gate, "main", ["acuracy"])


def test_a_margin_that_is_glued_to_its_revision() -> None:
    gate = read_gate("test.accuracy >= main-0.005")
    assert gate.revision == "main-0.005"
    message = r"^--gate: main-0\.005: is not a revision; write spaces around the sign: 'main - 0\.005'$"
    with pytest.raises(InputError, match=message), check_revision(gate):
        raise InputError("main-0.005: is not a commit, branch, tag or experiment")
    with pytest.raises(InputError, match=r"^--gate: mian: is not a"), check_revision(read_gate("test.accuracy >= mian")):
        raise InputError("mian: is not a commit, branch, tag or experiment")
