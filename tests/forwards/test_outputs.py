"""What a model returns: tensors in containers, of which some may be constants."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError
from captum_ad._engine.outputs import tensors_of_output
from captum_ad._engine.tags import tag_of
from captum_ad.targets import Target
from captum_ad.targets.base import Given

MADE_BEFORE = torch.arange(4)
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(8, 8, dtype=torch.bool)
MASK[:, :4] = False


class Everything(Target):
    """Reads all that a model returns."""

    def readout(self, output: Any, given: Given) -> Any:
        return output

    def score(self, readout: Any) -> Tensor:
        return readout["scores"].flatten(1).sum(1)

    def kept(self, readout: Any) -> Tensor:
        return self.score(readout) > 0


def outputs(model: nn.Module, **options: Any) -> Any:
    return ADForward(model.eval(), target=Everything(), **options).outputs(X, mask=MASK)


class Reports(nn.Module):
    """A detector's output: scores of the features, and something beside them."""

    def __init__(self, beside: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.convolution, self.beside = nn.Conv2d(3, 4, 3, padding=1), beside
        self.register_buffer("names", torch.arange(4))

    def forward(self, x: Tensor) -> dict[str, Any]:
        scores = self.convolution(x).relu()
        return {"scores": scores, "beside": self.beside(scores)}


CONSTANTS: dict[str, Callable[[Tensor], Any]] = {
    "made in the forward": lambda scores: torch.zeros(4),
    "made from its shape": lambda scores: torch.arange(scores.shape[-1]),
    "of a result's shape": lambda scores: [torch.zeros_like(scores), 3],
    "made before": lambda scores: MADE_BEFORE,
    "a number": lambda scores: 3,
}


@pytest.mark.parametrize("skip_dead", [False, True])
@pytest.mark.parametrize("name", CONSTANTS)
@torch.no_grad()
def test_constants_are_returned_as_they_are(name: str, skip_dead: bool) -> None:
    model = Reports(CONSTANTS[name])
    found, plain = outputs(model, skip_dead=skip_dead), model(X)
    assert str(found["beside"]) == str(plain["beside"])
    alone = ADForward(nn.Sequential(model.convolution, nn.ReLU()), skip_dead=skip_dead)(X, mask=MASK)
    assert torch.equal(found["scores"], alone)
    assert not torch.equal(found["scores"], plain["scores"])


@torch.no_grad()
def test_a_buffer_is_returned() -> None:
    model = Reports(lambda scores: model.names)
    assert outputs(model)["beside"] is model.names


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x * 2


LOST: dict[str, Callable[[Tensor], Any]] = {
    "compiled code": scripted,
    "compiled code, in a list": lambda scores: [torch.zeros(4), scripted(scores)],
    "memory alone": lambda scores: torch.utils.dlpack.from_dlpack(scores),
}


@pytest.mark.parametrize("name", LOST)
@torch.no_grad()
def test_features_that_lost_their_mask_are_refused_beside_others(name: str) -> None:
    with pytest.raises(UnsupportedOperationError):
        outputs(Reports(LOST[name]))


@dataclass(frozen=True)
class Result:
    logits: Tensor
    names: Any = ("a", "b")


@dataclass
class Slots:
    __slots__ = ("logits",)
    logits: Tensor


class Dictionary(dict):
    """Torch does not take subclasses for containers."""


class Row(list):
    pass


class Plain:
    __slots__ = ("logits", "other")

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def in_a_circle(scores: Tensor) -> Any:
    one, other = SimpleNamespace(logits=scores), SimpleNamespace()
    one.other, other.other = other, one
    return one


def nested(scores: Tensor, depth: int = 20) -> Any:
    return SimpleNamespace(inner=nested(scores, depth - 1)) if depth else scores


OBJECTS: dict[str, Callable[[Tensor], Any]] = {
    "namespace": lambda scores: SimpleNamespace(logits=scores),
    "in a list": lambda scores: [SimpleNamespace(logits=scores), None],
    "frozen dataclass": lambda scores: Result(scores),
    "slots": lambda scores: Slots(scores),
    "within another": lambda scores: SimpleNamespace(inner=Result(scores), logits=None),
    "within many others": nested,
    "in a circle": in_a_circle,
    "subclass of dict": lambda scores: Dictionary(logits=scores),
    "mapping": lambda scores: UserDict(logits=scores),
    "subclass of list": lambda scores: Row([scores, None]),
    "slots without dataclass": Plain,
    "in a dict of another": lambda scores: Result(torch.zeros(3), {"logits": scores}),
}


@pytest.mark.parametrize("name", OBJECTS)
@torch.no_grad()
def test_tensors_in_objects_are_as_they_are_alone(name: str) -> None:
    found = outputs(Reports(OBJECTS[name]))
    beside = [x for x in tensors_of_output(found["beside"]) if x.dim() > 1]
    assert beside
    assert all(torch.equal(x, found["scores"]) for x in beside)
    assert all(tag_of(x) is None for x in tensors_of_output(found))


@pytest.mark.parametrize("name", OBJECTS)
def test_features_in_objects_that_lost_their_mask_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperationError):
        outputs(Reports(lambda scores: OBJECTS[name](scripted(scores))))


@pytest.mark.parametrize("name", OBJECTS)
@torch.no_grad()
def test_objects_are_not_compiled_and_that_is_said(name: str) -> None:
    compiled = ADForward(Reports(OBJECTS[name]).eval(), target=Everything())
    compiled.compile(backend="eager")
    with pytest.warns(UserWarning, match="run uncompiled: the model returns an object"):
        found = compiled.outputs(X, mask=MASK)
    expected = outputs(compiled.model)
    assert len(tensors_of_output(found)) == len(tensors_of_output(expected)) > 1
    for ours, plain in zip(tensors_of_output(found), tensors_of_output(expected)):
        torch.testing.assert_close(ours, plain)


def test_iterators_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match=r"returns an iterator \(generator\).*: return a list"):
        outputs(Reports(lambda scores: (2 * score for score in scores)))


@torch.no_grad()
def test_the_objects_of_the_model_stay_as_they_were() -> None:
    held = SimpleNamespace(logits=None)

    def kept(scores: Tensor) -> Any:
        held.logits = scores
        return held

    found = outputs(Reports(kept))
    assert found["beside"] is not held
    assert torch.equal(found["beside"].logits, found["scores"])


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return [torch.zeros(len(x), 4), torch.ones(2)]


def test_constants_alone_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="the output of Constant does not come from the masked input"):
        outputs(Constant())
