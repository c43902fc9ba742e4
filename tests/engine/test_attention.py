"""Attention equals the oracle's, keeps the invariants, and gives finite answers where no key is left."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, MaskRule
from tests.engine.attention import CHANNELS, GRAPHS, HEIGHT, WIDTH
from tests.engine.test_oracle import RULES, TAUS, _compare, _masks
from tests.engine.tokens import Everything
from tests.networks import Apply
from tests.oracle import Knobs


@pytest.mark.parametrize("name", GRAPHS)
def test_attention_is_the_oracle(name: str) -> None:
    torch.manual_seed(0)
    graph, masks = GRAPHS[name](), _masks(HEIGHT, WIDTH)
    combinations = zip(itertools.product(masks, TAUS), itertools.cycle(RULES))
    for (kind, tau), rule in itertools.islice(combinations, list(GRAPHS).index(name) % 2, None, 2):
        _compare(graph, (HEIGHT, WIDTH), masks[kind], Knobs(rule, tau))


def encoder(**options: object) -> nn.Module:
    """torch's own; without gradients it would take a fused path of one operation."""
    return nn.TransformerEncoderLayer(CHANNELS, 2, 8, batch_first=True, **options)


def causal(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q, is_causal=True)


def boolean(q: Tensor) -> Tensor:
    near = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(-1)
    return F.scaled_dot_product_attention(q, q, q, attn_mask=near)


def with_weights(layer: nn.MultiheadAttention) -> nn.Module:
    return Apply(lambda x, layer: torch.cat([*layer(x, x, x)], 2), layer)


def padded(layer: nn.MultiheadAttention) -> nn.Module:
    def forward(x: Tensor, layer: nn.MultiheadAttention) -> Tensor:
        last = torch.zeros(x.shape[:2], dtype=torch.bool)
        last[:, -1] = True
        return layer(x, x, x, key_padding_mask=last, need_weights=False)[0]

    return Apply(forward, layer)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "encoder": lambda: encoder(),
    "encoder, norm first": lambda: encoder(norm_first=True, activation="gelu"),
    "two encoders": lambda: nn.TransformerEncoder(encoder(), 2),
    "decoder": lambda: Apply(
        lambda x, layer: layer(x, x[:, :5]), nn.TransformerDecoderLayer(CHANNELS, 2, 8, batch_first=True)
    ),
    "tokens first": lambda: Apply(
        lambda x, layer: layer(x.transpose(0, 1)).transpose(0, 1), nn.TransformerEncoderLayer(CHANNELS, 2, 8)
    ),
    "causal": lambda: Apply(causal),
    "boolean mask": lambda: Apply(boolean),
    "weights": lambda: with_weights(nn.MultiheadAttention(CHANNELS, 2, batch_first=True)),
    "padding": lambda: padded(nn.MultiheadAttention(CHANNELS, 2, batch_first=True)),
    "other widths": lambda: Apply(
        lambda x, layer: layer(x, x[..., :2], x[..., 1:])[0],
        nn.MultiheadAttention(CHANNELS, 2, kdim=2, vdim=3, batch_first=True),
    ),
}


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_invariants(name: str, class_token: bool) -> None:
    """Whole samples beside masked ones, junk behind the mask, everything off."""
    torch.manual_seed(0)
    model = Everything(BLOCKS[name](), class_token=class_token).double().eval()
    x, part = torch.randn(3, CHANNELS, HEIGHT, WIDTH).double(), torch.rand(HEIGHT, WIDTH) < 0.5
    mask = torch.stack([torch.ones_like(part), part, torch.zeros_like(part)])
    for rule in PRESETS:
        ad = ADForward(model, rule)
        assert torch.equal(ad(x), model(x))
        out = ad(x, mask=mask)
        torch.testing.assert_close(out[0], model(x)[0])
        assert not torch.allclose(out[1], model(x)[1])
        assert bool(out.isfinite().all())
        for junk in (math.nan, math.inf, 1e30):
            assert torch.equal(ad(torch.where(mask[:, None], x, junk), mask=mask), out)
        for i in range(3):
            torch.testing.assert_close(ad(x[i : i + 1], mask=mask[i : i + 1]), out[i : i + 1])


@torch.no_grad()
def test_dead_tokens_might_as_well_not_be_there() -> None:
    """Attention has no order of its own, so that leaving tokens out is the same as masking them."""
    torch.manual_seed(0)
    model = Everything(nn.TransformerEncoder(encoder(), 3)).double().eval()
    x, mask = torch.randn(2, CHANNELS, 1, 12).double(), torch.arange(12) % 3 == 0
    out = ADForward(model)(x, mask=mask[None].expand(2, 1, 12))
    shorter = model(x[..., mask])
    torch.testing.assert_close(out[:, 0], shorter[:, 0])
    torch.testing.assert_close(out[:, 1:][:, mask], shorter[:, 1:])
    assert bool((out[:, 1:][:, ~mask] == 0).all())


@pytest.mark.parametrize("preset", PRESETS)
@torch.no_grad()
def test_dead_keys_stay_out_of_the_softmax_whatever_is_added_to_their_scores(preset: str) -> None:
    """Leaving tokens out, and their rows of the table of places, is the same as masking them."""
    torch.manual_seed(0)
    places, mask = torch.randn(12, CHANNELS).double(), torch.arange(12) % 3 == 0

    def network(places: Tensor, height: int) -> nn.Module:
        def block(x: Tensor, mix: nn.Module) -> Tensor:
            scores = x @ x.mT
            scores = scores.unflatten(2, (height, -1))
            scores += (x @ places.mT).unflatten(2, (height, -1))  # by query and place of the key
            scores = scores.flatten(2) * 0.5
            scores = scores + (x.mean(1, keepdim=True) - x)[..., :1]  # by query alone
            x = x + mix(torch.softmax(scores, -1) @ x)
            return x + mix(x)

        torch.manual_seed(1)
        layers = (Apply(block, nn.Linear(CHANNELS, CHANNELS)) for _ in range(2))
        model = Everything(*layers, class_token=False)
        model.register_buffer("places", places)
        return model.double().eval()

    x, rule = torch.randn(2, CHANNELS, 1, 12).double(), MaskRule(average="active", growth=PRESETS[preset].growth)
    out = ADForward(network(places, 2), rule)(x, mask=mask[None].expand(2, 1, 12))
    torch.testing.assert_close(out[:, mask], network(places[mask], 1)(x[..., mask]))
    assert bool((out[:, ~mask] == 0).all())


STABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "less the largest": lambda s: (s - s.amax(-1, keepdim=True)).exp(),
    "less the largest, with its place": lambda s: (s - s.max(-1, keepdim=True)[0]).exp(),
    "less the mean": lambda s: (s - s.mean(-1, keepdim=True)).exp(),
    "distances": lambda s: (2 * s - s.diagonal(dim1=1, dim2=2)[:, None] - s.diagonal(dim1=1, dim2=2)[..., None]).exp(),
}


@pytest.mark.parametrize("name", STABLE)
@torch.no_grad()
def test_softmax_by_hand(name: str) -> None:
    torch.manual_seed(0)

    def attend(x: Tensor) -> Tensor:
        weights = STABLE[name](x.mT @ x)
        return (weights / weights.sum(-1, keepdim=True) @ x.mT).mT

    x, mask, model = torch.randn(1, 4, 9).double(), torch.arange(9) % 3 == 0, Apply(attend).eval()
    out = ADForward(model, MaskRule(average="active"))(x, mask=mask)
    torch.testing.assert_close(out[..., mask], model(x[..., mask]))
    assert bool((out[..., ~mask] == 0).all())


@torch.no_grad()
def test_scores_are_scores_in_any_batch() -> None:
    """Also where all queries are live, and where another sample of the batch is masked otherwise."""
    torch.manual_seed(0)

    def attend(x: Tensor, q: nn.Module, k: nn.Module, places: nn.Linear) -> Tensor:
        query, key = q(x).mT, k(x).mT
        return (query @ key.mT + places(query)).softmax(-1) @ key

    ad = ADForward(Apply(attend, nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 1), nn.Linear(4, 8)).double().eval())
    x, mask = torch.randn(2, 4, 8).double(), torch.zeros(2, 8, dtype=torch.bool)
    mask[0, 1::3], mask[1, :2] = True, True
    torch.testing.assert_close(ad(x[:1], mask=mask[:1])[0], ad(x, mask=mask)[0])


FUTURE = torch.ones(12, 12, dtype=torch.bool).triu(1)
HIDDEN: dict[str, Callable[[Tensor], Tensor]] = {
    "filled with -inf": lambda scores: scores.masked_fill(FUTURE, -math.inf),
    "filled with -1e9": lambda scores: scores.masked_fill(FUTURE, -1e9),
    "the lowest number": lambda scores: torch.where(FUTURE, torch.finfo(scores.dtype).min, scores),
    "added": lambda scores: scores + torch.zeros(12, 12).masked_fill(FUTURE, -math.inf),
}


@pytest.mark.parametrize("name", HIDDEN)
@torch.no_grad()
def test_dead_queries_stay_dead_where_scores_are_hidden(name: str) -> None:
    """A dead query whose future is overwritten by constants does not attend to it."""
    torch.manual_seed(0)

    def block(x: Tensor, mix: nn.Module) -> Tensor:
        for _ in range(2):
            x = x + mix(HIDDEN[name](x @ x.transpose(1, 2)).softmax(-1) @ x)
        return x

    mix = nn.Linear(CHANNELS, CHANNELS)
    model = Everything(Apply(block, mix), class_token=False).double().eval()
    x, mask = torch.randn(1, CHANNELS, 12).double(), torch.arange(12) % 3 == 0
    out = ADForward(model)(x, mask=mask)
    assert bool((out[:, ~mask] == 0).all())
    tokens = x[..., mask].transpose(1, 2)
    for _ in range(2):
        tokens = tokens + mix(F.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True, scale=1))
    torch.testing.assert_close(out[:, mask], tokens)


ZEROED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "filled": lambda weights, padded: weights.masked_fill(padded, 0.0),
    "chosen": lambda weights, padded: torch.where(padded, 0.0, weights),
    "chosen from zeros": lambda weights, padded: torch.where(padded, torch.zeros(12).double(), weights),
    "multiplied": lambda weights, padded: weights * ~padded,
    "multiplied in place": lambda weights, padded: weights.mul_((~padded).double()),
}


@pytest.mark.parametrize("fill", ZEROED.values(), ids=ZEROED)
@torch.no_grad()
def test_dead_queries_stay_dead_where_weights_are_set_to_zero(fill: Callable[[Tensor, Tensor], Tensor]) -> None:
    """As speech recognizers do for padded frames, behind the softmax."""
    torch.manual_seed(0)
    padded, part = torch.arange(12) >= 9, torch.arange(12) % 3 == 0

    def attend(x: Tensor) -> Tensor:
        weights = (x @ x.transpose(1, 2)).masked_fill(padded, -math.inf).softmax(-1)
        return fill(weights, padded) @ x + 1  # which a query that came alive would show

    x = torch.randn(2, CHANNELS, 12).double()
    out = ADForward(Everything(Apply(attend), class_token=False).double().eval())(x, mask=part)
    tokens, left = x[..., part].transpose(1, 2), int((part & ~padded).sum())
    assert bool((out[:, ~part] == 0).all())
    kept = F.scaled_dot_product_attention(tokens, tokens[:, :left], tokens[:, :left], scale=1)
    torch.testing.assert_close(out[:, part], kept + 1)


@torch.no_grad()
def test_a_query_without_a_live_score_gets_nothing() -> None:
    """Even if there are live values: the one key that the first query may look at lacks the channels that it has."""
    q, k, v = torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(0)).unbind(0)
    first = (torch.arange(4) < 2)[None, :, None].expand(1, 4, 6)
    key = first ^ (torch.arange(6) == 0)
    allowed = ~torch.eye(6, dtype=torch.bool)
    allowed[0] = torch.arange(6) == 0
    model = Apply(lambda *x: F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in x[:3]), x[3])).eval()
    for given in (allowed, torch.zeros(6, 6).masked_fill(~allowed, -math.inf)):
        out = ADForward(model)(q, k, v, given, mask=(first, key, first, None))
        assert bool((out[:, 0] == 0).all())
        assert bool((out[:, 1:, :2] != 0).all())
