"""The invariants of every network: Theorem 1, missing means missing, batches do not mix, masks are monotone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, PositionMask
from captum_ad._engine import Interpreter
from tests.networks import (
    CHANNELS,
    HEIGHT,
    WIDTH,
    Apply,
    add_context,
    channels_last,
    inputs,
    masks,
    networks,
    rules,
    taus,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
FULL = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


class Recorder(Interpreter):
    """An interpreter that keeps the mask of every result."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.recorded: list[Tensor] = []

    def emit(self, out: Tensor, mask: PositionMask | None, **kwargs: Any) -> Tensor:
        emitted = super().emit(out, mask, **kwargs)
        dead = torch.zeros((), dtype=torch.bool) if mask is None else mask.dead
        self.recorded.append(dead.expand(out.shape))
        return emitted


def dead_everywhere(model: nn.Module, rule: MaskRule, tau: float, x: Tensor, mask: Tensor) -> list[Tensor]:
    """Which elements are deactivated in the result of every operation on x's data."""
    ad = Recorder(model, rule, tau)
    # A mark of "not full" on everything makes both runs take the same rules, operation by operation.
    start = ad.start(x, PositionMask(mask.expand(len(x), *mask.shape[1:])))
    with torch.no_grad(), ad:
        model(start)
    return ad.recorded


# Theorem 1


@given(networks(), inputs(), rules(), taus(), st.sampled_from(DTYPES))
def test_unmasked_is_the_model(model: nn.Module, x: Tensor, rule: MaskRule, tau: float, dtype: torch.dtype) -> None:
    model, x = model.to(dtype), x.to(dtype)
    expected = model(x)
    ad = ADForward(model, rule, tau=tau)
    assert torch.equal(ad(x), expected)
    assert torch.equal(ad(x, mask=FULL), expected)
    assert torch.equal(ad(x, mask=FULL.expand(2, CHANNELS, -1, -1).float()), expected)


@given(networks(), inputs(), rules(), taus(), st.sampled_from(DTYPES))
def test_the_interpreter_is_the_model(
    model: nn.Module, x: Tensor, rule: MaskRule, tau: float, dtype: torch.dtype
) -> None:
    """Theorem 1 by the engine itself, which ADForward does not start for a full mask."""
    model, x = model.to(dtype), x.to(dtype)
    ad = Interpreter(model, rule, tau)
    start = ad.start(x, None)
    with ad:
        out = model(start)
    assert torch.equal(ad.finish(out), model(x))


@given(networks(), inputs(), rules(), taus(), masks(1))
def test_a_whole_sample_beside_a_masked_one(
    model: nn.Module, x: Tensor, rule: MaskRule, tau: float, mask: Tensor
) -> None:
    """Theorem 1 through all of the rules: only the other sample misses something."""
    both = torch.cat([torch.ones_like(mask), mask])
    out = ADForward(model.double(), rule, tau=tau)(x.double(), mask=both)
    torch.testing.assert_close(out[0], model(x.double())[0])


# Missing means missing


@pytest.mark.parametrize("junk", ["noise", 1e30, math.inf, -math.inf, math.nan])
@given(networks(), inputs(), masks(), rules(), taus())
def test_missing_means_missing(
    junk: str | float, model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float
) -> None:
    replaced = torch.where(mask, x, torch.randn_like(x) if junk == "noise" else float(junk))
    ad = ADForward(model, rule, tau=tau)
    out = ad(x, mask=mask)
    assert torch.equal(ad(replaced, mask=mask), out)
    assert bool(out.isfinite().all())


@given(networks(), inputs(), masks(), rules(), taus())
def test_nan_is_a_mask(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    ad = ADForward(model, rule, tau=tau)
    assert torch.equal(ad(torch.where(mask, x, math.nan)), ad(x, mask=mask))


@pytest.mark.parametrize("average", ["all", "active"])
def test_nan_takes_the_path_of_a_mask(average: str) -> None:
    """Blocks for which a mask that NaN writes out per channel once gave other masks, or other bits."""
    torch.manual_seed(0)
    x, mask = torch.randn(2, CHANNELS, HEIGHT, WIDTH), torch.rand(HEIGHT, WIDTH) < 0.5
    for model in (
        Apply(add_context, nn.Conv2d(CHANNELS, CHANNELS, 1)),
        Apply(channels_last, nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 2)),
        nn.GroupNorm(1, CHANNELS),
    ):
        ad = ADForward(model.eval(), MaskRule(average=average))
        assert torch.equal(ad(torch.where(mask, x, math.nan)), ad(x, mask=mask))


# Batches do not mix


@given(networks(), inputs(3), masks(3), rules(), taus())
def test_batches_do_not_mix(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    x, ad = x.double(), ADForward(model.double(), rule, tau=tau)
    mask = mask.expand(3, -1, -1, -1)
    together = ad(x, mask=mask)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], ad(x[i : i + 1], mask=mask[i : i + 1]))


def attended(x: Tensor) -> Tensor:
    """By queries that are constants."""
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(torch.ones(len(x), 2, CHANNELS), tokens, tokens).mean(1)


FOLLOWED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "unfold": (lambda x: F.unfold(x, 2).mean(2), 4 * CHANNELS),
    "fold": (lambda x: F.fold(F.unfold(x, 2), (HEIGHT, WIDTH), 2).mean((2, 3)), CHANNELS),
    "windows": (lambda x: x.unfold(3, 2, 2).mean((2, 3, 4)), CHANNELS),
    "diagonal": (lambda x: x.diagonal(0, 2, 3).mean(2), CHANNELS),
    "picked": (lambda x: x.flatten(2)[:, :, torch.tensor([0, 3, 9, 20, 31])].mean(2), CHANNELS),
    "picked by booleans": (lambda x: x[:, :, torch.ones(HEIGHT, WIDTH, dtype=torch.bool)].mean(2), CHANNELS),
    "stacked": (lambda x: torch.stack([x, x.flip(3)], 1).sum(1).mean((2, 3)), CHANNELS),
    "stacked in front": (lambda x: torch.stack([x, x.flip(3)]).sum(0).mean((2, 3)), CHANNELS),
    "stacked behind": (lambda x: torch.stack([x, x.flip(3)], -1).sum(-1).mean((2, 3)), CHANNELS),
    "attended": (attended, CHANNELS),
}  # fmt: skip


@pytest.mark.parametrize("tau", [0.0, 0.3])
@pytest.mark.parametrize("name", FOLLOWED)
@torch.no_grad()
def test_samples_are_followed(name: str, tau: float) -> None:
    """A vector per sample has no position, whichever way it was made: not even if all, or most, of it is masked."""
    torch.manual_seed(0)
    function, channels = FOLLOWED[name]
    ad = ADForward(Apply(lambda x, head: head(function(x)), nn.Linear(channels, 2)).eval(), tau=tau)
    x = torch.randn(3, CHANNELS, HEIGHT, WIDTH)
    mask = torch.stack([FULL, torch.rand(HEIGHT, WIDTH) < 0.2, ~FULL])
    together = ad(x, mask=mask)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], ad(x[i : i + 1], mask=mask[i : i + 1]))


@torch.no_grad()
def test_samples_are_followed_in_a_map_that_is_kept_whole() -> None:
    """As many positions as samples, which change places before the map meets one that is masked."""
    torch.manual_seed(0)

    def tokens_first(x: Tensor, y: Tensor, head: nn.Module) -> Tensor:
        return head((y.permute(2, 0, 1) + x.permute(2, 0, 1)).mean(0))

    ad = ADForward(Apply(tokens_first, nn.Linear(CHANNELS, 2)).eval(), MaskRule(sum="intersection"))
    x, y = torch.randn(2, 3, CHANNELS, 3).unbind(0)
    mask, whole = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool(), torch.ones(3, 3, dtype=torch.bool)
    together = ad(x, y, mask=(mask, whole))
    for i in range(3):
        alone = ad(x[i : i + 1], y[i : i + 1], mask=(mask[i : i + 1], whole[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone)


@given(networks(), inputs(), masks(), rules(), taus())
def test_representations_agree(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    """One mask written out for channels and samples says the same as the broadcast one."""
    x, ad = x.double(), ADForward(model.double(), rule, tau=tau)
    written = mask.expand(2, CHANNELS, -1, -1).clone()
    torch.testing.assert_close(ad(x, mask=written), ad(x, mask=mask))


# Masks are monotone


@given(networks(), inputs(), masks(), masks(), rules(), taus())
def test_masks_are_monotone(
    model: nn.Module, x: Tensor, mask: Tensor, more: Tensor, rule: MaskRule, tau: float
) -> None:
    """What is active with fewer features is active with more, after every operation."""
    larger = mask | more
    assume(not bool(larger.all()))  # a full mask takes no rule, so that there are fewer results to compare
    few = dead_everywhere(model, rule, tau, x, mask)
    many = dead_everywhere(model, rule, tau, x, larger)
    if [d.shape for d in few] != [d.shape for d in many]:
        few, many = few[-1:], many[-1:]
    for number, (dead, still_dead) in enumerate(zip(few, many)):
        assert not bool((still_dead & ~dead).any()), f"operation {number} deactivates what was active with less"


@given(networks(spatial=True), inputs(), masks(), rules(), taus())
def test_dead_positions_of_a_map_are_zero(
    model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float
) -> None:
    out = ADForward(model, rule, tau=tau)(x, mask=mask)
    assert bool((out[dead_everywhere(model, rule, tau, x, mask)[-1]] == 0).all())


@given(networks(), inputs(), rules(), taus())
def test_everything_off_is_legal(model: nn.Module, x: Tensor, rule: MaskRule, tau: float) -> None:
    out = ADForward(model, rule, tau=tau)(x, mask=~FULL)
    assert bool(out.isfinite().all())
    torch.testing.assert_close(out[0], out[1])


@pytest.mark.parametrize(("kept", "features"), [(1, 4), (3, 10), (29, 100), (58, 100), (1, 3), (7, 25)])
def test_a_share_of_exactly_tau_is_not_enough(kept: int, features: int) -> None:
    """Active iff Φ > τ: neither at Φ = τ, nor not at one feature more."""
    conv, x = nn.Conv1d(1, 1, features, bias=False), torch.ones(1, 1, features)
    nn.init.ones_(conv.weight)
    ad = ADForward(conv.eval(), "paper", tau=kept / features)
    position = torch.arange(features)
    assert ad(x, mask=position < kept).item() == 0
    assert ad(x, mask=position < kept + 1).item() == kept + 1
