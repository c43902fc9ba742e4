"""What a model returns: tensors in containers, of which some may be constants."""

from __future__ import annotations

import itertools
import logging
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError
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


class Slots:
    __slots__ = ("__logits",)

    def __init__(self, logits: Tensor) -> None:
        self.__logits = logits


class Dictionary(dict):
    """Torch does not take subclasses for containers."""


class Pair(tuple):
    pass


def in_a_circle(scores: Tensor) -> Any:
    one, other = SimpleNamespace(logits=scores), SimpleNamespace()
    one.other, other.other = other, one
    return other


def nested(scores: Tensor) -> Any:
    for _ in range(2000):
        scores = SimpleNamespace(inner=scores)
    return scores


def in_an_array(scores: Tensor) -> Any:
    found = np.empty(2, dtype=object)
    found[1] = [scores]  # numpy would read a tensor's values
    return found


OBJECTS: dict[str, Callable[[Tensor], Any]] = {
    "namespace": lambda scores: SimpleNamespace(logits=scores),
    "in a list": lambda scores: [SimpleNamespace(logits=scores), None],
    "dataclass": Result,
    "slots": Slots,
    "in a circle": in_a_circle,
    "within many others": nested,
    "mapping": lambda scores: UserDict(logits=scores),
    "subclass of dict": lambda scores: Dictionary(logits=scores),
    "subclass of tuple": lambda scores: Pair([scores]),
    "set": lambda scores: {scores},
    "values": lambda scores: {"logits": scores}.values(),
    "array": in_an_array,
    "iterator": lambda scores: (2 * score for score in scores),
    "function": lambda scores: lambda: scores,
    "partial": lambda scores: partial(print, scores),
}


@pytest.mark.parametrize("name", OBJECTS)
@torch.no_grad()
def test_masked_tensors_in_objects_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperationError, match="that holds masked tensors: return a tuple, list or dict"):
        outputs(Reports(OBJECTS[name]))


HARMLESS: dict[str, Callable[[Tensor], Any]] = {
    "constants": lambda scores: Result(torch.zeros(3)),
    "logger": lambda scores: SimpleNamespace(log=logging.getLogger("captum_ad"), numbers=itertools.count(), library=np),
    "network": lambda scores: SimpleNamespace(network=nn.Linear(2, 2)),
}


@pytest.mark.parametrize("name", HARMLESS)
@torch.no_grad()
def test_other_objects_are_returned_as_they_are(name: str) -> None:
    made = HARMLESS[name](X)
    assert outputs(Reports(lambda scores: made))["beside"] is made


@torch.no_grad()
def test_models_that_return_objects_run_uncompiled_and_that_is_said() -> None:
    compiled = ADForward(Reports(HARMLESS["constants"]).eval(), target=Everything())
    compiled.compile(backend="eager")
    with pytest.warns(UserWarning, match=r"run uncompiled: the model returns an object \(Result\)"):
        found = compiled.outputs(X, mask=MASK)
    assert torch.equal(found["beside"].logits, torch.zeros(3))
    torch.testing.assert_close(found["scores"], outputs(compiled.model)["scores"])


@pytest.mark.parametrize("holder", [nn.Identity(), ModuleType("cache"), type("Cache", (), {})])
@torch.no_grad()
def test_what_networks_and_modules_keep_is_no_output(holder: Any) -> None:
    def beside(scores: Tensor) -> Any:
        holder.last = scores
        return SimpleNamespace(holder=holder)

    assert outputs(Reports(beside))["beside"].holder is holder


@torch.no_grad()
def test_a_tensor_of_an_object_can_be_picked() -> None:
    model = Reports(lambda scores: Result(scores)).eval()
    found = ADForward(model, select=lambda output: output["beside"].logits)(X, mask=MASK)
    assert torch.equal(found, ADForward(model, select="scores")(X, mask=MASK))


@torch.jit.script
def write(z: Tensor, scores: Tensor) -> Tensor:
    z.copy_(scores)
    return z


BIG = torch.zeros(2, 4, 8, 8)
OVERWRITTEN: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "through a view": lambda z, scores: z.view(-1).copy_(scores.reshape(-1)),
    "as data": lambda z, scores: z.data.copy_(scores),
    "detached": lambda z, scores: z.detach().copy_(scores),
    "strided": lambda z, scores: z.permute(3, 2, 1, 0).permute(3, 2, 1, 0).add_(scores),
    "flat": lambda z, scores: z.flatten(2).add_(scores.flatten(2)),
    "by compiled code": write,
    "by compiled code, through a view": lambda z, scores: write(z.view(-1), scores.reshape(-1)),
}


@pytest.mark.parametrize("name", OVERWRITTEN)
@torch.no_grad()
def test_constants_that_features_were_written_into_are_none(name: str) -> None:
    def beside(scores: Tensor) -> Tensor:
        z = torch.zeros_like(scores)
        OVERWRITTEN[name](z, scores)
        return z

    try:
        found = outputs(Reports(beside))
    except UnsupportedOperationError:
        return
    assert torch.equal(found["beside"], found["scores"])


SPARSE = {"sparse": lambda scores: to_sparse(scores), "buffer": lambda scores: write(BIG, scores)}


@torch.jit.script
def to_sparse(x: Tensor) -> Tensor:
    return x.to_sparse()


@pytest.mark.parametrize("name", SPARSE)
@torch.no_grad()
def test_what_compiled_code_fills_is_no_constant(name: str) -> None:
    with pytest.raises(UnsupportedOperationError):
        outputs(Reports(SPARSE[name]))
    BIG.zero_()


@pytest.mark.parametrize("name", ["made in the forward", "made before", "a number"])
@torch.no_grad()
def test_constants_of_a_program_do_not_depend_on_the_batch(name: str) -> None:
    compiled = ADForward(Reports(CONSTANTS[name]).eval(), target=Everything())
    compiled.compile(backend="eager")
    for samples in (4, 3, 4):
        x = torch.rand(samples, 3, 8, 8)
        found, expected = (
            compiled.outputs(x, mask=MASK),
            ADForward(compiled.model, target=Everything()).outputs(x, mask=MASK),
        )
        assert str(found["beside"]) == str(expected["beside"])
        torch.testing.assert_close(found["scores"], expected["scores"])


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return [torch.zeros(len(x), 4), torch.ones(2)]


def test_constants_alone_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="the output of Constant does not come from the masked input"):
        outputs(Constant())
