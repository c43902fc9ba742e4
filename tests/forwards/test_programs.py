"""ADForward.compile: one program for all masks of a shape."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from captum.attr import Occlusion
from torch import Tensor, fx, nn
from torch.testing import assert_close

from captum_ad import PRESETS, ADForward, PositionMask, register_rule, temporary_rules
from captum_ad._forwards.programs import compiled_forwards
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.targets import Contrast
from tests.forwards.compiling import COUNTS, FULL, MASK, OTHER, Counting, Network, X, assert_graphs, pair


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    yield
    torch.compiler.reset()


@torch.no_grad()
@pytest.mark.parametrize(("rule", "tau"), list(itertools.product(PRESETS, (0.0, 0.3))))
def test_one_program_for_all_masks(rule: str, tau: float, programs: list[fx.GraphModule]) -> None:
    compiled, eager, backend = pair(rule=rule, tau=tau)
    for mask in (MASK, OTHER, ~MASK, torch.zeros_like(MASK)):
        out = compiled(X, mask=mask)
        torch.testing.assert_close(out, eager(X, mask=mask), rtol=1e-5, atol=1e-5)
        for junk in (1e30, torch.inf):
            assert torch.equal(compiled(torch.where(mask[:, None], X, junk), mask=mask), out)
    assert torch.equal(compiled(torch.where(MASK[:, None], X, torch.nan)), compiled(X, mask=MASK))
    assert len(programs) == 1
    assert_graphs(backend, 1)


@torch.no_grad()
def test_a_full_mask_runs_the_compiled_model() -> None:
    compiled, _, backend = pair()
    plain = torch.compile(compiled.model, backend=backend)(X)
    assert torch.equal(compiled(X), plain)
    assert torch.equal(compiled(X, mask=FULL), plain)


@torch.no_grad()
def test_weights_are_read_at_each_run(programs: list[fx.GraphModule]) -> None:
    compiled, eager, backend = pair()
    before = compiled(X, mask=MASK)
    compiled.model.stem[0].weight.mul_(2)
    compiled.model.stem[1].running_mean.add_(1)
    assert_close(compiled(X, mask=MASK), eager(X, mask=MASK))
    assert len(programs) == 1
    assert_graphs(backend, 1)
    compiled.model.head = nn.Linear(8, 5)
    assert_close(compiled(X, mask=MASK), eager(X, mask=MASK))
    assert not torch.equal(compiled(X, mask=MASK), before)


class Attributes(nn.Module):
    """What it computes depends on a number, and it counts its runs if asked to."""

    def __init__(self, counts: bool = False) -> None:
        super().__init__()
        self.layer, self.scale, self.counts, self.calls = nn.Conv2d(3, 4, 3), 1.0, counts, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.counts:
            self.calls += 1
        return self.layer(x).mean((2, 3)) * self.scale


@torch.no_grad()
def test_a_number_that_a_module_holds_is_no_constant(programs: list[fx.GraphModule]) -> None:
    model = Attributes().eval()
    compiled, eager, backend = pair(model)
    compiled(X, mask=MASK)
    model.scale = 2.0
    torch.testing.assert_close(compiled(X, mask=MASK), eager(X, mask=MASK), rtol=1e-5, atol=1e-5)
    assert len(programs) == 2
    assert_graphs(backend, 2)


@torch.no_grad()
def test_a_model_that_changes_its_own_attributes_runs_eagerly() -> None:
    model = Attributes(counts=True).eval()
    compiled, eager, backend = pair(model)
    with pytest.warns(UserWarning, match=r"of Attributes run uncompiled: .* changes its own attributes"):
        compiled(X, mask=MASK)
    calls = model.calls
    assert_close(compiled(X, mask=MASK), eager(X, mask=MASK))
    assert model.calls == calls + 2
    assert_graphs(backend, 0)


def test_gradients() -> None:
    found = []
    for ad in pair()[:2]:
        x = X.clone().requires_grad_()
        loss = ad(x, mask=MASK).square().sum()
        found.append(torch.autograd.grad(loss, [x, *ad.model.parameters()]))
    for one, other in zip(*found):
        assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not found[0][0].masked_select(~MASK[:, None]).any()


class HalfFrozen(nn.Module):
    """Some layers run without gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.strided = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5, 2)
        self.free, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.strided(self.frozen(x).relu()).relu_()
        return self.head(self.free(x).mean((2, 3)))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_gradients_end_where_the_model_ends_them(backend: str) -> None:
    found = []
    for compiled in (True, False):
        ad = ADForward(HalfFrozen().eval())
        if compiled:
            ad.compile(backend=backend)
        loss = ad(X, mask=MASK).square().sum()
        found.append((loss, torch.autograd.grad(loss, list(ad.model.parameters()), allow_unused=True)))
    (loss, grads), (expected, wanted) = found
    assert_close(loss, expected)
    assert [grad is None for grad in wanted] == [True] * 4 + [False] * 4
    for grad, right in zip(grads, wanted):
        assert (grad is None or not grad.any()) if right is None else torch.allclose(grad, right, 1e-4, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["autocast", "double", "channels last", "inference", "bfloat16 throughout"])
def test_kinds_of_numbers(how: str) -> None:
    dtype = {"double": torch.double, "bfloat16 throughout": torch.bfloat16}.get(how, torch.float32)
    compiled, eager, backend = pair(Network().eval().to(dtype))
    x = X.to(dtype).contiguous(memory_format=torch.channels_last) if how == "channels last" else X.to(dtype)
    with torch.inference_mode(how == "inference"), torch.no_grad(), torch.autocast("cpu", enabled=how == "autocast"):
        for mask in (MASK, OTHER):
            out, expected = compiled(x, mask=mask), eager(x, mask=mask)
            assert out.dtype == expected.dtype
            assert_close(out, expected, rtol=0, atol=0.02 if dtype == torch.bfloat16 else 1e-5)
    old = not hasattr(torch.compiler, "set_stance")  # torch before 2.6 runs it eagerly
    assert_graphs(backend, 0 if how == "inference" and old else 1)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor, y: Tensor, *, scale: Any = 1.0) -> dict[str, Tensor]:
        return {"logits": (scale * self.first(x) + self.second(y)).mean((2, 3))}


@torch.no_grad()
def test_several_inputs_and_other_arguments() -> None:
    compiled, eager, backend = pair(Pair().eval())
    for masks in ((MASK, None), (MASK, OTHER), (OTHER, MASK)):
        assert_close(compiled(X, X + 1, mask=masks), eager(X, X + 1, mask=masks))
    assert_graphs(backend, 2)
    for scale in (2.0, torch.tensor(3.0), torch.tensor(4.0)):
        assert_close(compiled(x=X, y=X, scale=scale, mask={"x": MASK}), eager(x=X, y=X, scale=scale, mask={"x": MASK}))
    assert_graphs(backend, 4)


@torch.no_grad()
def test_what_needs_values_runs_eagerly() -> None:
    with temporary_rules(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")

        @register_rule("silu")
        def silu(ad: Any, op: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            mask = ad.mask(x)
            return ad.emit(op(x), mask if bool(mask.kept.any()) else PositionMask(mask.kept))

        compiled, eager, backend = pair()
        for mask in (MASK, OTHER):
            assert_close(compiled(X, mask=mask), eager(X, mask=mask))
        assert_graphs(backend, 0)
    assert [str(w.message) for w in said] == [
        "masked forwards of Network run uncompiled: operation torch.nn.functional.silu, called in module "
        "'layer.1' (SiLU), depends on the values of masks or features"
    ]
    assert_close(compiled(X, mask=MASK), eager(X, mask=MASK))  # of other rules there is a program
    assert_graphs(backend, 1)


def test_bad_input_as_ever() -> None:
    compiled, _, backend = pair()
    with pytest.raises(ValueError, match="does not fit the input"):
        compiled(X, mask=MASK[:, :3])
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        compiled(X, mask=MASK * 0.5)
    with pytest.raises(TypeError, match="mask must be"):
        compiled(X, mask=[1])
    with pytest.raises(RuntimeError, match="channels"):
        compiled(X[:, :2], mask=MASK)
    assert_graphs(backend, 0)
    with pytest.raises(Exception, match="no such backend"):
        compiled.compile(backend="no such backend")


@torch.no_grad()
def test_copies() -> None:
    compiled, eager, backend = pair()
    target = Contrast(1, 2)
    assert_close(compiled.with_target(target)(X, mask=MASK), eager.with_target(target)(X, mask=MASK))
    assert_close(compiled(X, mask=MASK), eager(X, mask=MASK))
    assert_graphs(backend, 1)
    other = ADForward(Network().eval())
    other.compile(backend="eager")
    other(X, mask=MASK)
    for again in (copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert_close(again(X, mask=MASK), eager(X, mask=MASK))


@torch.no_grad()
def test_few_sizes_of_the_batch(programs: list[fx.GraphModule]) -> None:
    compiled, eager, backend = pair()
    x, mask = X.repeat(4, 1, 1, 1), MASK.repeat(4, 1, 1).clone()
    mask[5] = OTHER[1]
    for size in (7, 7, 4, 6, 8, 5, 2):  # programs of 7, 8 and 2
        for given in (mask[:size], mask[:1]):
            torch.testing.assert_close(
                compiled(x[:size], mask=given), eager(x[:size], mask=given), rtol=1e-5, atol=1e-5
            )
    assert len(programs) == 6  # of masks as many as inputs, and of one mask
    assert_graphs(backend, 6)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Occlusion, {"sliding_window_shapes": (3, 6, 6), "strides": (3, 6, 6), "perturbations_per_eval": 4}),
        (Rise, {"n_samples": 8, "grid": 4, "perturbations_per_eval": 8}),
        (CausalResponsibility, {"n_iterations": 1, "max_forwards": 30, "perturbations_per_eval": 4}),
    ],
)
def test_attributors(kind: Any, given: dict[str, Any]) -> None:
    compiled, eager, backend = pair()
    target = int(compiled(X[:1]).argmax())
    maps = [kind(ad).attribute(X[:1], target=target, **given) for ad in (compiled, eager)]
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-5)
    assert not COUNTS or 1 < backend.graphs < 9


@torch.no_grad()
def test_forwards_in_a_context_share_programs() -> None:
    model, backend = Network().eval(), Counting()
    with compiled_forwards(backend=backend):
        forwards = [ADForward(model), ADForward(model), ADForward(model, "paper")]
    for ad in forwards:
        torch.testing.assert_close(ad(X, mask=MASK), ADForward(model, ad.rule)(X, mask=MASK), rtol=1e-5, atol=1e-5)
    assert_graphs(backend, 2)
