"""What is the same thing, and what is not: two functions of one name, two arrays that look alike when printed."""

import functools
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from captum_ad import MaskRule
from captum_ad.metrics import OtherClassImages, SolidColors
from captum_ad.metrics.digests import described, fingerprint
from tests.metrics.models import small_net


def painter(value, *, default=0.0):
    """All of them have one qualified name."""

    def paint(x, mask, more=default):
        return x * 0 + value + more

    return paint


def by_constant(number):
    return {1: lambda x, mask: x * 0 + 1, 2: lambda x, mask: x * 0 + 2}[number]


def by_name(number):
    return {1: lambda x, mask: x.relu(), 2: lambda x, mask: x.tanh()}[number]


class Painter:
    def __init__(self, value):
        self.value = value

    def __call__(self, x, mask):
        return x * 0 + self.value

    def paint(self, x, mask):
        return self(x, mask)


def long_array(last):
    values = np.zeros(5000)
    values[2500] = last
    return values


def tensor(last):
    return torch.from_numpy(long_array(last))


def partly(value):
    return functools.partial(pow, value)


def colors(value):
    return SolidColors(5, 0, mean=value, std=0.1)


def other_class_images(value):
    return OtherClassImages([(torch.zeros(1, 2, 2), 0)] * int(value), to_confidence=by_constant(int(value)))


def module_of(value):
    return small_net(int(value), (3, 8, 8), classes=4)


def forward_of(value):
    """Two classes of one name and no weights, which do different things."""
    if value == 1:

        class Net(nn.Module):
            def forward(self, x):
                return x.relu()

        return Net()

    class Net(nn.Module):
        def forward(self, x):
            return x.tanh()

    Net.__qualname__ = "forward_of.<locals>.Net"
    return Net()


MAKERS = [
    painter,
    lambda value: painter(0.0, default=value),
    lambda value: painter(torch.full((2, 2), value)),
    lambda value: painter(painter(value)),
    lambda value: painter({"nested": [long_array(value)]}),
    lambda value: painter(functools.partial(painter, value)),
    by_constant,
    by_name,
    Painter,
    lambda value: Painter(value).paint,
    partly,
    long_array,
    tensor,
    colors,
    other_class_images,
    module_of,
    forward_of,
    lambda value: MaskRule(growth="none" if value == 1 else "window"),
    lambda value: {"name": value},
    lambda value: {value, "another", "third"},
]


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_made_twice_is_the_same_and_another_value_is_not(make):
    one, again, other = make(1.0), make(1.0), make(2.0)
    assert described(one) == described(again)
    assert described(one) != described(other)


def test_what_a_function_reads_of_its_module_counts(monkeypatch):
    def paint(x, mask):
        return x * 0 + LEVEL

    before = described(paint)
    assert described(paint) == before
    monkeypatch.setitem(globals(), "LEVEL", 5.0)
    assert described(paint) != before


LEVEL = 0.0


def test_functions_that_call_each_other_and_lists_that_hold_themselves():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    endless = []
    endless.append(endless)
    assert described(even) == described(even) != described(odd)
    assert described(endless) == described(endless)


@pytest.mark.parametrize(
    "make", [lambda: torch.Generator(), lambda: painter(np.random.default_rng(0)), iter("ab").__iter__]
)
def test_what_cannot_be_looked_into_is_never_the_same(make):
    assert described(make()) != described(make())


def test_models_of_one_structure_and_other_code_are_told_apart():
    assert repr(forward_of(1)) == repr(forward_of(2))
    assert fingerprint(forward_of(1)) == fingerprint(forward_of(1)) != fingerprint(forward_of(2))


@pytest.mark.slow
def test_other_processes_say_the_same(tmp_path):
    """Whatever the order of sets is there, and whether the module comes from its source or from the cache."""
    (tmp_path / "paints.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch.nn.functional import avg_pool2d
            from captum_ad.metrics.digests import described

            LEVEL, NAMES = 3, {"red", "green", "blue"}

            class Paint:
                def __init__(self, value):
                    self.value = value
                def __call__(self, x, mask):
                    return helper(x) + self.value

            def helper(x):
                return avg_pool2d(x, LEVEL, 1, 1) if "red" in {"red", "dark"} | NAMES else torch.zeros_like(x)

            def make(value):
                return lambda x, mask: helper(x) + value

            if __name__ != "__main__":
                print(described(make(torch.ones(2))), described(Paint({"a", "b", "c"})))
            """
        )
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", "import paints"],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(said) == 1
    assert len(said.pop().split()) >= 2
