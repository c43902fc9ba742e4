"""No mask is lost in silence: what cannot be followed stops the forward, and the message says where and what."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization import QuantWrapper, convert, default_qconfig, prepare
from torch.utils.checkpoint import checkpoint

from captum_ad import ADForward, UnsupportedOperationError, register_rule
from captum_ad.engine import Interpreter

X = torch.linspace(-1, 1, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6)
HALF = torch.arange(6).expand(6, 6) < 3


class Inner(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Outer(nn.Module):
    """conv, then the function, in a module of its own; the result is used, not returned."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.suspect = Inner(function)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.suspect(self.conv(x))) + 0


def run(function: Callable[[Tensor], Tensor], mask: Tensor = HALF) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return ADForward(Outer(function).eval())(X, mask=mask)


UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "renorm": (lambda x: torch.renorm(x, 2, 1, 1.0), "renorm"),
    "unique": (lambda x: x.unique(), "unique"),
    "singular values": (lambda x: torch.linalg.svdvals(x), "svdvals"),
    "determinant": (lambda x: torch.linalg.det(x), "det"),
    "strided": (lambda x: x.as_strided((2, 4, 6, 6), (144, 36, 1, 6)), "as_strided"),
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
    "quantile": (lambda x: x - x.quantile(0.5, 3, keepdim=True), "quantile"),
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


@pytest.mark.parametrize("name", ["renorm", "unique", "determinant", "quantile"])
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


# Writing in place: a mask that a view makes stale is refused, or it is right


def write_row(x: Tensor) -> Tensor:
    view = x.view(x.shape)
    x[:, :, :, 3:] = 1.0  # these are no longer missing
    return view


def write_product(x: Tensor) -> Tensor:
    view = x.view(x.shape)
    x.mul_(F.avg_pool2d(x, 3, 1, 1).flip(3))
    return view


def write_through_a_view(x: Tensor) -> Tensor:
    left, right = x[:, :2], x[:, 2:]
    left += right.flip(3)
    return x


def write_features_into_zeros(x: Tensor) -> Tensor:
    buffer = torch.zeros(x.shape)
    view = buffer[:, :2]
    view += x[:, :2]
    return buffer


def write_by_out(x: Tensor) -> Tensor:
    buffer = torch.empty(x.shape)
    view = buffer.view(-1, 6)
    torch.add(x, x.flip(3), out=buffer)
    return view.view(x.shape)


def write_more_than_is_assigned(x: Tensor) -> Tensor:
    half = x[:, :2]
    half += x[:, 2:].flip(3)
    x[:, :1] = half[:, :1]
    return x


def assign_another_part(x: Tensor) -> Tensor:
    half = x[:, :2]
    half += x[:, 2:].flip(3)
    x[:, 2:] = half
    return x


def write_where_it_overlaps(x: Tensor) -> Tensor:
    windows = x.unfold(3, 3, 1)
    windows[..., 2] += x.flip(3)[..., :4]
    return windows


def write_twice_and_assign_once(x: Tensor) -> Tensor:
    other = x.flip(3)
    left, right = x[:, :2], x[:, 2:]
    left += other[:, 2:]
    right = x[:, 2:]
    x[:, 2:] = right
    return x


STALE = [
    write_more_than_is_assigned,
    assign_another_part,
    write_where_it_overlaps,
    write_twice_and_assign_once,
    write_row,
    write_product,
    write_through_a_view,
    write_features_into_zeros,
    write_by_out,
]


@pytest.mark.parametrize("function", STALE)
def test_stale_masks_are_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedOperationError, match="through another view"):
        run(function)


def relu_of_a_view(x: Tensor) -> Tensor:
    x.view(-1).relu_()
    return x


def sigmoid_of_a_part(x: Tensor) -> Tensor:
    x[:, :, :3].sigmoid_()
    return x


def assembled(x: Tensor) -> Tensor:
    out = torch.zeros(x.shape)
    out[:, :, ::2] = x[:, :, ::2]
    out[:, :, 1::2] = x[:, :, 1::2]
    return out


def added_in_place(x: Tensor) -> Tensor:
    other = x.flip(3)
    x += other
    return x


def added_to_a_part(x: Tensor) -> Tensor:
    other = x.flip(3)
    x[:, :2, ..., 1:5] += other[:, 2:, ..., 1:5]
    return x


def part_added(x: Tensor) -> Tensor:
    middle = x[:, :2, ..., 1:5] + x.flip(3)[:, 2:, ..., 1:5]
    return torch.cat([torch.cat([x[:, :2, ..., :1], middle, x[:, :2, ..., 5:]], 3), x[:, 2:]], 1)


def sigmoid_of_a_clean_view(x: Tensor) -> Tensor:
    out = x + x.flip(2)  # zero where it is missing, until the next line
    out.view(-1).sigmoid_()
    return F.avg_pool2d(out, 3, 1, 1)


AS_IF_APART: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "relu of a view": (relu_of_a_view, F.relu),
    "sigmoid of a part": (sigmoid_of_a_part, lambda x: torch.cat([x[:, :, :3].sigmoid(), x[:, :, 3:]], 2)),
    "sigmoid of a clean view": (
        sigmoid_of_a_clean_view,
        lambda x: F.avg_pool2d((x + x.flip(2)).sigmoid(), 3, 1, 1),
    ),
    "assembled by rows": (assembled, lambda x: x * 1),
    "sum of a part in place": (added_to_a_part, part_added),
    "sum in place": (added_in_place, lambda x: x + x.flip(3)),
    "squeeze in place": (lambda x: (x * 1).unsqueeze_(1).squeeze_(1), lambda x: x * 1),
    "transpose in place": (lambda x: (x * 1).transpose_(2, 3), lambda x: (x * 1).transpose(2, 3)),
}


@pytest.mark.parametrize("name", AS_IF_APART)
def test_writing_in_place_gives_what_copies_give(name: str) -> None:
    written, apart = AS_IF_APART[name]
    expected = run(apart)
    assert torch.equal(run(written), expected)
    assert bool((expected == 0).any())
    assert not bool((expected == 0).all())


def test_buffers_take_no_features() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(X.shape))

        def forward(self, x: Tensor) -> Tensor:
            self.cache[:] = x
            return self.cache

    model = Caching()
    with pytest.raises(UnsupportedOperationError, match="tensor of the model"):
        ADForward(model.eval())(X, mask=HALF)


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
    with pytest.raises(UnsupportedOperationError, match="in a way that its rule does not know"):
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


def test_quantised_models_are_refused() -> None:
    quantised = QuantWrapper(Outer(F.relu)).eval()
    quantised.qconfig = default_qconfig
    prepare(quantised, inplace=True)
    with pytest.raises(UnsupportedOperationError, match="MinMaxObserver"):  # it would calibrate on masked maps
        ADForward(quantised)(X, mask=HALF)
    quantised(X)
    convert(quantised, inplace=True)
    with pytest.raises(UnsupportedOperationError, match=r"quantize_per_tensor, called in module 'quant'"):
        ADForward(quantised)(X, mask=HALF)


def test_exported_programs_are_refused() -> None:
    model = Inner(lambda x: x.relu().mean((2, 3)))
    exported = torch.export.export(model.eval(), (X,)).module()
    with pytest.raises(UnsupportedOperationError, match=r"aten\.\w+.*wrap the Python model|no operation seen here"):
        ADForward(exported)(X, mask=HALF)
