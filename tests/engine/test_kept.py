"""What does not differ from a run without masks need not be computed: all graphs, with and without, step by step."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, PositionMask
from captum_ad._engine import Interpreter
from captum_ad._engine.kept import KeptRun
from captum_ad._engine.provenance import Provenance
from captum_ad._forwards.keeping import keeping_runs
from tests.engine.graphs import CHANNELS
from tests.engine.test_oracle import half_of_the_rules
from tests.engine.test_parts import GRAPHS
from tests.oracle import Graph


def windows(*shape: int) -> Tensor:
    """Masks (5, 1, *shape): windows off in a corner, another corner, the middle; one pixel; nothing."""
    masks = torch.ones(5, 1, *shape, dtype=torch.bool)
    for mask, (start, size) in zip(masks, ((0, 2), (9, 3), (2, 2), (1, 1))):
        mask[0][tuple(slice(min(start, n - 1), min(start, n - 1) + size) for n in shape)] = False
        if start == 9:
            mask[0][tuple(slice(max(0, n - size), n) for n in shape)] = False
    return masks


@pytest.mark.parametrize("name", [name for name in GRAPHS if "grid sample" not in name])  # with a grid for each sample
def test_what_is_taken_over_is_as_computed(name: str) -> None:
    torch.manual_seed(0)
    shape, build = GRAPHS[name]
    graph = build()
    x = torch.randn(1, CHANNELS, *shape, dtype=torch.double)
    masks = windows(*shape)
    for number, rule in enumerate(half_of_the_rules(1 + list(GRAPHS).index(name))):  # the half that test_parts leaves
        tau = (0.0, 0.4, 0.0)[number % 3]
        compare(graph, x, PositionMask(masks[number % 2 :: 2] if tau else masks), rule, tau)


@torch.no_grad()
def compare(graph: Graph, x: Tensor, mask: PositionMask, rule: MaskRule, tau: float) -> None:
    kept, many = KeptRun(x), x.expand(len(mask.kept), *x.shape[1:])
    run(graph, x, PositionMask(torch.ones((1,) * x.dim(), dtype=torch.bool)), rule, tau, kept)
    kept.finished = True
    whole, taken = (run(graph, many, mask, rule, tau, one) for one in (None, kept))
    for number, ((expected, mine), (found, same)) in enumerate(zip(whole, taken)):
        where = f"step {number} ({type(graph.operations[number]).__name__}), {rule}, {tau}"
        assert (mine is None) == (same is None), where
        if mine is not None and same is not None:
            assert mine.equals(same), where
            expected, found = (one.masked_fill(mine.dead, 0) for one in (expected, found))
        torch.testing.assert_close(found, expected, msg=lambda m, w=where: f"{w}: {m}")


def run(
    graph: Graph, x: Tensor, mask: PositionMask, rule: MaskRule, tau: float, kept: KeptRun | None
) -> list[tuple[Tensor, PositionMask | None]]:
    ad = Interpreter(graph, rule, tau, skip_dead=kept is not None, kept=kept)
    start = ad.start(x, None if mask.is_full() else mask)
    ad.provenance = Provenance(start)
    with ad.provenance, ad:
        found = graph.trace(start)
    ad.complete(*found)
    results = [(out.clone(), ad.mask(out)) for out in found]
    ad.forget()
    return results


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.first, self.second)


def read_before_it_is_overwritten(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x)
    before = second(x)
    return x.relu_() + before


def overwritten_in_another_layout(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x)
    x.permute(0, 2, 3, 1).mul_(2)
    return second(x)


def overwritten_under_another_layout(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x)
    last = x.permute(0, 2, 3, 1)
    F.relu(x, inplace=True)
    return second(last.permute(0, 3, 1, 2) * 2)


def depends_on_values(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x)
    x = x.relu() if float(x.detach().mean()) > float(first.bias.mean()) else x.tanh().relu()
    return second(x)


def another_layer(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    """The same operations, in the same order, of the same sizes; which weights depends on the image."""
    x = first(x).relu()
    return second(x) if float(x.detach().mean()) % 1e-4 > 5e-5 else F.conv2d(x, second.weight * 2, padding=1)


def another_operand(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x)
    y, z = x.sin(), x.cos()
    return second(x + (y if float(x.detach().mean()) % 1e-4 > 5e-5 else z))


def another_number(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x)
    x = x * float(x.detach().std())
    return second(x * torch.tensor(float(x.detach().mean())))


def channels_last(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    x = first(x).permute(0, 2, 3, 1)
    x = F.layer_norm(x, (4,))
    return second(x.permute(0, 3, 1, 2)) + 1


FUNCTIONS = [
    read_before_it_is_overwritten,
    overwritten_in_another_layout,
    overwritten_under_another_layout,
    depends_on_values,
    another_layer,
    another_operand,
    another_number,
    channels_last,
]


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_models(function: Callable[..., Tensor], inference: bool) -> None:
    model, x = Apply(function).eval(), torch.rand(1, 3, 9, 9)
    masks = windows(9, 9)
    for rule in ("paper", "no-growth", "no-growth-mean"):
        with torch.inference_mode(inference), torch.set_grad_enabled(False):
            expected = ADForward(model, rule, skip_dead=False)(x.expand(5, 3, 9, 9), mask=masks)
            with keeping_runs():
                ad = ADForward(model, rule)
                found = [ad(x.expand(5, 3, 9, 9), mask=masks) for _ in range(2)]
        for one in found:
            torch.testing.assert_close(one, expected)


def test_runs_are_kept_no_longer_than_needed() -> None:
    seen: list[weakref.ref[Tensor]] = []

    class Seen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x * 2
            seen.append(weakref.ref(x))
            if len(seen) == 3:
                raise RuntimeError("in the middle")
            return x.mean((2, 3))

    ad, x, mask = ADForward(Seen().eval()), torch.rand(1, 3, 9, 9), windows(9, 9)[:1]

    @keeping_runs()
    def explain() -> None:
        ad(x, mask=mask)
        assert seen[0]() is not None
        ad(x, mask=mask)

    with torch.no_grad(), pytest.raises(RuntimeError, match="in the middle"):
        explain()
    gc.collect()
    assert all(one() is None for one in seen)


def test_a_model_that_runs_no_single_sample() -> None:
    """The forward goes on without a run to take over from."""

    class Pairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.reshape(2, 3, 9, 9) * 2).mean((2, 3))

    ad, x, mask = ADForward(Pairs().eval()), torch.rand(1, 3, 9, 9).expand(2, 3, 9, 9), windows(9, 9)[:2]
    with torch.no_grad():
        expected = ad(x, mask=mask)
        with keeping_runs():
            torch.testing.assert_close(ad(x, mask=mask), expected, rtol=0, atol=0)


def test_another_image_has_a_run_of_its_own() -> None:
    ad, mask = ADForward(Apply(channels_last).eval()), windows(9, 9)
    images = torch.rand(2, 1, 3, 9, 9)
    with torch.no_grad():
        expected = [ad(x.expand(5, 3, 9, 9), mask=mask) for x in images]
        with keeping_runs():
            found = [ad(x.expand(5, 3, 9, 9), mask=mask) for x in images]
    torch.testing.assert_close(found, expected)


HARD: dict[str, Callable[[Tensor, nn.Module, nn.Module], Tensor]] = {
    "mean": lambda x, first, second: first(x).mean((2, 3)),
    "strip": lambda x, first, second: (lambda y: y + F.max_pool2d(y, (9, 1)))(first(x)),
    "strips": lambda x, first, second: (lambda y: F.avg_pool2d(y, (1, 9)) * F.avg_pool2d(y, (9, 1)))(first(x)),
    "weights of the image": lambda x, first, second: (
        lambda y: F.conv2d(y, y.mean((2, 3))[:1].mul(20).sin().view(4, 1, 1, 1), groups=4)
    )(first(x)),
    "view of the input": lambda x, first, second: (x.permute(0, 2, 3, 1).mul_(2), first(x))[1],
    "out": lambda x, first, second: (
        lambda y: (lambda view: (torch.add(y, 1, out=y), view * 1)[1])(y.permute(0, 2, 3, 1))
    )(first(x)),
    "channels padded": lambda x, first, second: F.pad(first(x), (0, 0, 0, 0, 0, 4)),
    "itself": lambda x, first, second: (lambda y: y * (2.0 if y.detach() is y else 3.0))(first(x)),
    "norm of maps": lambda x, first, second: F.layer_norm(first(x), (9, 9)),
    "joined rows": lambda x, first, second: torch.cat([x * 2, first(x)[:, :3]], 2),
    "random": lambda x, first, second: first(x) + torch.rand(4, 9, 9),
    "printed": lambda x, first, second: (lambda y: y * float(len(str(y))))(first(x)),
}


@pytest.mark.parametrize("behind", [0.5, 1e6, torch.nan, torch.inf])
@pytest.mark.parametrize("name", HARD)
def test_hard_ones(name: str, behind: float) -> None:
    model, mask = Apply(HARD[name]).eval(), windows(9, 9)[1:2]
    x = torch.rand(1, 3, 9, 9).where(mask, behind)
    found = []
    for skip in (False, True):
        with torch.no_grad(), keeping_runs():
            torch.manual_seed(0)
            found.append(ADForward(model, "paper", skip_dead=skip)(x, mask=mask))
    torch.testing.assert_close(found[1], found[0])


def test_constants_that_are_written_to() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x: Tensor, scale: float) -> Tensor:
            self.scale.fill_(scale)
            return (x * self.scale).transpose(2, 3) if scale == 3 else (x * self.scale).permute(0, 1, 2, 3)

    for inference in (False, True):
        with torch.inference_mode(inference), torch.no_grad(), keeping_runs():
            x, mask = torch.rand(1, 3, 9, 9), windows(9, 9)[1:2]
            fast, full = (ADForward(Scaled().eval(), skip_dead=skip) for skip in (True, False))
            for scale in (1.0, 2.0, 3.0):
                torch.testing.assert_close(fast(x, mask=mask, scale=scale), full(x, mask=mask, scale=scale))


@pytest.mark.parametrize("inference", [False, True])
def test_what_a_hook_has_kept_may_be_written_to(inference: bool) -> None:
    seen: list[Tensor] = []
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 4, 3, padding=1)).eval()
    model[1].register_forward_hook(lambda module, given, out: seen.append(out))
    x, mask = torch.rand(1, 3, 9, 9), windows(9, 9)[1:2]
    with torch.inference_mode(inference), torch.no_grad():
        expected = ADForward(model, skip_dead=False)(x, mask=mask)
        with keeping_runs():
            ad = ADForward(model)
            for _ in range(2):
                torch.testing.assert_close(ad(x, mask=mask), expected)
                for out in seen:
                    out.zero_()


def test_an_image_or_a_precision_that_has_changed() -> None:
    model, x, mask = Apply(channels_last).eval(), torch.rand(1, 3, 9, 9), windows(9, 9)[1:2]
    with torch.no_grad(), keeping_runs():
        ad = ADForward(model)
        ad(x, mask=mask)
        x.mul_(2)
        torch.testing.assert_close(ad(x, mask=mask), ADForward(model, skip_dead=False)(x, mask=mask))
        with torch.autocast("cpu", torch.bfloat16):
            rough = ad(x, mask=mask)
        assert rough.dtype == torch.bfloat16
        torch.testing.assert_close(
            rough, ADForward(model, skip_dead=False)(x, mask=mask).to(rough), rtol=0.05, atol=0.05
        )
        torch.testing.assert_close(ad(x, mask=mask), ADForward(model, skip_dead=False)(x, mask=mask))
