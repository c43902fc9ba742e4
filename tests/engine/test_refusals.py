"""No mask is lost in silence: what cannot be followed stops the forward, and the message says where and what."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.ao.quantization import QuantWrapper, convert, default_qconfig, prepare
from torch.utils.checkpoint import checkpoint

from captum_ad import ADForward, UnsupportedOperationError, register_rule
from captum_ad._engine import Interpreter
from tests.engine.suspects import HALF, Inner, Outer, X, run

UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "renorm": (lambda x: torch.renorm(x, 2, 1, 1.0), "renorm"),
    "unique": (lambda x: x.unique(), "unique"),
    "singular values": (lambda x: torch.linalg.svdvals(x), "svdvals"),
    "determinant": (lambda x: torch.linalg.det(x), "det"),
    "strided": (lambda x: x.as_strided((2, 4, 6, 6), (144, 36, 1, 6)), "as_strided"),
    "address": (lambda x: torch.full_like(x, x.data_ptr() > 0), "data_ptr"),
    "memory": (lambda x: torch.full_like(x, x.untyped_storage().nbytes()), "untyped_storage"),
    "aten": (lambda x: torch.ops.aten.cumsum(x, 2), "cumsum"),
    "in-place aten": (lambda x: torch.ops.aten.cumsum_(x, 2), "cumsum_"),
    "dispatched inside": (lambda x: torch.vmap(lambda row: row.renorm(2, 0, 1.0))(x), "renorm"),
    "pooling with indices": (lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True)[0], "adaptive_max_pool2d"),
    "numpy": (lambda x: torch.from_numpy(np.cumsum(x.numpy(), 2)), "numpy"),
    "numpy array": (lambda x: torch.as_tensor(np.asarray(x)), "__array__"),
    "list": (lambda x: torch.tensor(x.tolist()), "tolist"),
    "item": (lambda x: x * x[0, 0, 0, 5].item(), "item"),
    "float": (lambda x: x * float(x[0, 0, 0, 5]), "__float__"),
    "bool": (lambda x: x if x[0, 0, 0, 5] else -x, "__bool__"),
    "dlpack": (lambda x: torch.from_dlpack(x), "__dlpack"),
    "bits": (lambda x: x.view(torch.int32).view(torch.float32), "view"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_operations_are_refused(name: str) -> None:
    function, operation = UNKNOWN[name]
    with pytest.raises(UnsupportedOperationError) as error:
        run(function)
    message = str(error.value)
    assert operation in message
    assert "'suspect' (Inner)" in message
    assert "register_rule" in message


@pytest.mark.parametrize(
    ("name", "advice"), [("unique", "Register a rule"), ("bits", "has a rule, but not for this use")]
)
def test_a_rule_is_advised_where_there_is_none(name: str, advice: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=advice):
        run(UNKNOWN[name][0])


@pytest.mark.parametrize("name", ["renorm", "unique", "determinant", "singular values"])
def test_nothing_is_refused_where_nothing_is_missing(name: str) -> None:
    function, _ = UNKNOWN[name]
    torch.manual_seed(0)
    with torch.no_grad():
        expected = Outer(function).eval()(X)
    assert torch.equal(run(function, torch.ones(6, 6)), expected)


@torch.jit.script
def compiled(x: Tensor) -> Tensor:
    return x.cumsum(2)


@torch.jit.script
def compiled_in_place(x: Tensor) -> Tensor:
    return x.cumsum_(2)


OUT_OF_SIGHT: dict[str, Callable[[Tensor], Tensor]] = {
    "TorchScript function": lambda x: compiled(x),
    "TorchScript in place": lambda x: compiled_in_place(x),
    "legacy constructor": lambda x: torch.Tensor([[1.0] * 6] * 6),
    "dlpack capsule": lambda x: torch._C._from_dlpack(torch._C._to_dlpack(x)),
}


@pytest.mark.parametrize("name", OUT_OF_SIGHT)
def test_compiled_code_cannot_slip_a_mask(name: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"register_rule|ScriptModule"):
        run(OUT_OF_SIGHT[name])


@pytest.mark.parametrize("name", ["TorchScript function", "legacy constructor"])
def test_an_output_from_nowhere_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"Inner .*does not come from|output of Inner"):
        ADForward(Inner(OUT_OF_SIGHT[name]).eval())(X, mask=HALF)


def test_a_map_of_an_earlier_forward_is_refused() -> None:
    kept: list[Tensor] = []

    def remember(x: Tensor) -> Tensor:
        kept.append(x)
        return kept[0] + 1

    run(remember)
    with pytest.raises(UnsupportedOperationError, match="earlier forward"):
        run(remember)


def test_registering_a_rule_is_the_way_out() -> None:
    """The message's own advice works."""

    @register_rule("renorm")
    def renorm(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
        return ad.emit(op(ad.deactivate(x), p, dim, maxnorm), ad.mask(x))

    out = run(lambda x: torch.renorm(x, 2, 1, 1.0))
    assert math.isclose(float(out[..., 4:].abs().max()), 0)
    assert bool(out[..., :3].any())


def test_calls_that_a_rule_does_not_know_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="with arguments that its rule does not accept"):
        run(lambda x: torch.matmul(x, torch.ones(6, 6), out=torch.empty(X.shape)))


@pytest.mark.parametrize("norm", [F.layer_norm, F.group_norm, F.instance_norm, F.batch_norm])
def test_masked_weights_of_a_norm_are_refused(norm: Callable[..., Tensor]) -> None:
    """A scale that is made from the map itself has a mask too, and the rule has no place for it."""

    def apply(x: Tensor) -> Tensor:
        if norm is F.layer_norm:
            return norm(x, (6,), weight=x[0, 0, 0])
        if norm is F.group_norm:
            return norm(x, 2, weight=x[0, :, 0, 0])
        if norm is F.instance_norm:
            return norm(x, weight=x[0, :, 0, 0])
        return norm(x, torch.zeros(4), torch.ones(4), weight=x[0, :, 0, 0])

    with pytest.raises(UnsupportedOperationError, match="one masked operand"):
        run(apply, HALF.logical_not())
    assert run(apply, torch.ones_like(HALF)).shape == X.shape


# Ways of running a model that cannot be right


def test_checkpointed_parts_are_refused_where_gradients_are_wanted() -> None:
    """Backward runs them again, when the masks are gone; so does an autograd function with a backward of its own."""

    class Pool(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return F.avg_pool2d(x, 3, 1, 1)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return F.avg_pool2d(gradient, 3, 1, 1)

    def pool(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    expected = run(pool)
    for function in (
        lambda x: checkpoint(pool, x, use_reentrant=False),
        lambda x: checkpoint(pool, x, use_reentrant=True),
        lambda x: Pool.apply(x),
    ):
        model = Outer(function).eval()
        with pytest.raises(UnsupportedOperationError, match=r"torch.utils.checkpoint or an autograd function.*no_grad"):
            ADForward(model)(X, mask=HALF)
        assert torch.equal(run(function), expected)
        assert torch.equal(ADForward(model)(X), model(X))


@pytest.mark.parametrize("transform", ["vmap", "grad", "jvp"])
def test_function_transforms_are_refused(transform: str) -> None:
    ad = ADForward(Outer(F.relu).eval())
    transformed = {
        "vmap": lambda: torch.func.vmap(lambda m: ad(X, mask=m))(HALF[None]),
        "grad": lambda: torch.func.grad(lambda x: ad(x, mask=HALF).sum())(X),
        "jvp": lambda: torch.func.jvp(lambda x: ad(x, mask=HALF), (X,), (X,)),
    }
    with pytest.raises(UnsupportedOperationError, match=r"torch\.func.*one mask per sample"):
        transformed[transform]()


def test_quantized_models_are_refused() -> None:
    quantized = QuantWrapper(Outer(F.relu)).eval()
    quantized.qconfig = default_qconfig
    prepare(quantized, inplace=True)
    with pytest.raises(UnsupportedOperationError, match="MinMaxObserver"):  # it would calibrate on masked maps
        ADForward(quantized)(X, mask=HALF)
    quantized(X)
    convert(quantized, inplace=True)
    with pytest.raises(UnsupportedOperationError, match=r"quantize_per_tensor, called in module 'quant'"):
        ADForward(quantized)(X, mask=HALF)


def test_exported_programs_are_refused() -> None:
    model = Inner(lambda x: x.relu().mean((2, 3)))
    exported = torch.export.export(model.eval(), (X,)).module()
    with pytest.raises(UnsupportedOperationError, match=r"aten\.\w+.*wrap the Python model|could not be followed"):
        ADForward(exported)(X, mask=HALF)
