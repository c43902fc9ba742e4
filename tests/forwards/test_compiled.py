"""Models that torch.compile or TorchScript compiled, and compiled ADForwards."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
HALF = torch.arange(8).expand(8, 8) < 4
MASK = torch.stack([torch.ones_like(HALF), HALF])
NEEDS_STANCE = pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch before 2.6")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.layer = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.SiLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head((x + self.layer(x)).mean((2, 3)))


def with_compiled_layer(model: Network) -> nn.Module:
    model.layer = torch.compile(model.layer, backend="eager")
    return model


def with_layer_compiled_in_place(model: Network) -> nn.Module:
    model.layer.compile(backend="eager")
    return model


def with_compiled_forward(model: Network) -> nn.Module:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def with_compiled_function(model: Network) -> nn.Module:
    model.layer[2] = Function()
    return model


class Function(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.silu = torch.compile(lambda x: nn.functional.silu(x), backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.silu(x)


COMPILED: dict[str, Callable[[Network], nn.Module]] = {
    "model": lambda model: torch.compile(model, backend="eager"),
    "model, whole graph": lambda model: torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True),
    "layer": with_compiled_layer,
    "layer in place": with_layer_compiled_in_place,
    "forward": with_compiled_forward,
    "function": with_compiled_function,
}


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    yield
    torch.compiler.reset()


def check(ad: Callable[..., Tensor], model: nn.Module) -> None:
    """Like an ADForward of the plain network; `model` is what runs where nothing is masked."""
    expected = ADForward(Network().eval())
    assert torch.equal(ad(X), model(X))
    assert torch.equal(ad(X, mask=torch.ones_like(HALF)), model(X))
    out = ad(X, mask=MASK)
    assert torch.equal(out, expected(X, mask=MASK))
    assert not torch.equal(out, model(X))
    assert torch.equal(ad(torch.where(MASK[:, None], X, float("nan"))), out)
    gradients = []
    for each in (ad, expected):
        x = X.clone().requires_grad_()
        gradients.append(torch.autograd.grad(each(x, mask=MASK).square().sum(), x)[0])
    torch.testing.assert_close(*gradients)  # a compiled program rounds in another order


@NEEDS_STANCE
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_models(name: str) -> None:
    model = COMPILED[name](Network().eval())
    check(ADForward(model), model)
    counter = torch._dynamo.utils.counters["frames"]["ok"]
    assert counter, "nothing was compiled"
    ADForward(model)(X)
    assert torch._dynamo.utils.counters["frames"]["ok"] == counter  # what was compiled is still in use


@pytest.mark.skipif(hasattr(torch.compiler, "set_stance"), reason="works since torch 2.6")
@pytest.mark.parametrize("name", ["model", "layer", "layer in place"])
def test_compiled_models_are_refused(name: str) -> None:
    model = COMPILED[name](Network().eval())
    assert torch.equal(ADForward(model)(X), model(X))
    with pytest.raises(UnsupportedOperationError, match=r"compiled by torch.compile.*use torch 2.6"):
        ADForward(model)(X, mask=MASK)


@NEEDS_STANCE
@pytest.mark.slow
def test_inductor() -> None:
    model = torch.compile(Network().eval())
    check(ADForward(model), model)


@pytest.mark.parametrize("how", ["compile", "in place", "inside"])
@pytest.mark.filterwarnings("ignore:torch.compile does not compile masked forwards")
def test_compiled_adforward(how: str) -> None:
    model = Network().eval()
    ad: nn.Module = ADForward(model)
    if how == "in place":
        ad.compile(backend="eager")
    elif how == "compile":
        ad = torch.compile(ad, backend="eager")
    else:
        ad = torch.compile(Inside(ad), backend="eager")
    check(ad, model)


def test_torch_compile_says_that_it_does_not_compile_masked_forwards() -> None:
    ad = ADForward(Network().eval())
    compiled = torch.compile(ad, backend="eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not")
        plain = compiled(X)
    with pytest.warns(UserWarning, match=r"runs uncompiled: call \.compile\(\) of the ADForward"):
        assert torch.equal(compiled(X, mask=MASK), ad(X, mask=MASK))
    ad.compile(backend="eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not")
        assert torch.equal(compiled(X), plain)
        compiled(X, mask=MASK)


def test_torch_compile_is_refused_by_attributors() -> None:
    compiled = torch.compile(ADForward(Network().eval()), backend="eager")
    with pytest.raises(ValueError, match=r"instead of torch\.compile, call \.compile\(\) of the ADForward"):
        Occlusion(compiled).attribute(X, sliding_window_shapes=(3, 2, 2))


class Inside(nn.Module):
    def __init__(self, ad: nn.Module) -> None:
        super().__init__()
        self.ad = ad

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.ad(x * 1, mask=mask) + 0


@NEEDS_STANCE
def test_compiled_twice() -> None:
    model = torch.compile(Network().eval(), backend="eager")
    check(torch.compile(ADForward(model), backend="eager"), model)


@NEEDS_STANCE
def test_the_stance_is_restored() -> None:
    """After an exception, and with several threads, which share it."""

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of memory")

    model = torch.compile(Network().eval(), backend="eager")
    ad = ADForward(model)
    with pytest.raises(RuntimeError, match="out of memory"):
        ADForward(nn.Sequential(model.stem, Failing()))(X, mask=MASK)
    plain, expected, found = model(X), ad(X, mask=MASK), []

    def explain() -> None:
        found.extend(torch.equal(ad(X, mask=MASK), expected) and torch.equal(ad(X), plain) for _ in range(5))

    threads = [threading.Thread(target=explain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 15
    seen: list[bool] = []
    torch.compile(lambda x: seen.append(torch.compiler.is_compiling()) or x + 1, backend="eager")(X)
    assert seen == [True]
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_nothing_is_imported_for_the_sake_of_compilers() -> None:
    program = (
        "import sys, torch, captum_ad; from torch import nn; x = torch.rand(1, 3, 4, 4);"
        "captum_ad.ADForward(nn.Conv2d(3, 1, 3).eval())(x, mask=torch.arange(4).expand(4, 4) < 2);"
        "print('torch._dynamo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_an_adforward_cannot_be_traced() -> None:
    with pytest.raises(UnsupportedOperationError, match="cannot be traced"):
        torch.jit.trace(ADForward(Network().eval()), (X,))


def test_scripted_modules_are_refused_by_path() -> None:
    model, conv = Network().eval(), nn.Conv2d(6, 6, 3, padding=1).eval()
    for script, path in (
        (torch.jit.script(model), "the model"),
        (torch.jit.freeze(torch.jit.script(model)), "the model"),
        (torch.jit.trace(model, X), "the model"),
    ):
        ad = ADForward(script)
        assert torch.equal(ad(X), script(X))
        with pytest.raises(UnsupportedOperationError, match=rf"^{path} is compiled by TorchScript.*register_rule"):
            ad(X, mask=MASK)
    model.layer[0] = torch.jit.trace(conv, X.repeat(1, 2, 1, 1))
    with pytest.raises(UnsupportedOperationError, match=r"^module 'layer.0' is compiled by TorchScript"):
        ADForward(copy.copy(model))(X, mask=MASK)
