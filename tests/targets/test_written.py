"""Targets written as text: the same as in Python, and nothing else is run."""

import pytest
import torch

from captum_ad import UnknownNameError
from captum_ad.targets import Binary, Class, Contrast, Detection, Group, MultiLabel, Reconstruction, Region, Regression
from captum_ad.targets.written import KINDS, written

NAMES = ["cat", "dog", "fox (red)"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Class(2)", Class(2)),
        (" Class('dog') ", Class(1)),
        ("Binary(positive=0)", Binary(positive=0)),
        ("MultiLabel('fox (red)', 0.25)", MultiLabel(2, 0.25)),
        ("Contrast('dog', Group([0, 'fox (red)']))", Contrast(1, Group([0, 2]))),
        ("Group(['cat', 'dog'])", Group([0, 1])),
        ("Regression(1, tolerance=0.5)", Regression(1, tolerance=0.5)),
        ("Region('dog', (1, 2, 3, 4), reduction='sum')", Region(1, (1, 2, 3, 4), reduction="sum")),
        ("Detection((1, 2.5, 3, 4), 'dog')", Detection((1, 2.5, 3, 4), 1)),
        ("Reconstruction('l1', threshold=0.5)", Reconstruction("l1", threshold=0.5)),
    ],
)
def test_the_same_as_in_python(text, target):
    found = written(text, NAMES)
    assert type(found) is type(target)
    assert repr(found) == repr(target)
    if isinstance(target, (Class, Group)):
        output = torch.randn(2, 3)
        assert torch.equal(found.score(output), target.score(output))


def test_every_kind_is_tried_here():
    assert set(KINDS) == {
        "Binary", "Class", "Contrast", "Detection", "Group", "MultiLabel", "Reconstruction", "Region", "Regression",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("dog", ValueError, "not a target as Python writes it"),
        ("Class(", ValueError, "not a target as Python writes it"),
        ("Class('wolf')", UnknownNameError, "unknown class 'wolf'"),
        ("Klass(1)", UnknownNameError, "did you mean 'Class'"),
        ("Class(open('x'))", UnknownNameError, "unknown target 'open'"),
        ("Class(x)", ValueError, "x is not a number"),
        ("Class([1 for _ in [2]])", ValueError, "is not a number"),
        ("Region(1, **{'threshold': 0.9})", ValueError, "write the arguments out"),
        ("Class({[1]: 2})", ValueError, "is not a number"),
        ("Class(1, color=2)", TypeError, "color"),
        ("Regression(0)", TypeError, "tolerance"),
    ],
)
def test_refusals(text, kind, message):
    with pytest.raises(kind, match=message):
        written(text, NAMES)
