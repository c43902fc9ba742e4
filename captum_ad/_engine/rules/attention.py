"""Attention: tokens are positions. A dead token neither attends nor is attended to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.rules.contraction import contracted
from captum_ad._engine.static import is_at_hand

_EXCLUDED = -5e3  # models write constants this low or lower over scores that attention must ignore


@register_rule("softmax", "log_softmax")
def softmax(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    """Along channels, each position by itself; along positions, dead ones are left out of the sum.

    If all live scores of a row are excluded (-inf, or numbers like -1e9), the whole row is dead.
    """
    ad.only(input)
    mask = ad.mask(input)
    assert mask is not None
    if dim is None:
        ad.refuse("was called without dim (give it)")
    if mask.kept.shape[dim] == 1:
        return ad.emit(op(input, dim, *args, **kwargs), mask)
    # The lowest finite number gets weight 0 next to any live score. -inf would give 0 / 0 if no score is live.
    x = input.masked_fill(mask.dead, torch.finfo(input.dtype).min)
    empty = (x.detach().amax(dim, keepdim=True) <= _EXCLUDED) & mask.dead.any(dim, keepdim=True)
    return ad.emit(op(x, dim, *args, **kwargs), _without(mask, empty))


@register_rule(F.scaled_dot_product_attention)
def scaled_dot_product_attention(
    ad: Interpreter,
    op: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Like its steps: product, softmax over the live keys, product. Without a live key the result is zero and dead."""
    if attn_mask is not None:
        attn_mask = ad.deactivate(attn_mask)  # a bias that is computed from features adds 0 where it is dead
    masks = [written_mask(ad, x) for x in (query, key, value)]
    if any(mask.kept.dim() > 2 and mask.kept.shape[-3] > 1 for mask in masks) and kwargs.get("enable_gqa"):
        ad.refuse("has a rule for grouped queries if all heads have one mask")
    scores = contracted("...id,...jd->...ij", masks[0], masks[1])
    if masks[0].kept.shape[-1] == masks[1].kept.shape[-1] == 1:
        live = (~masks[1].dead).transpose(-2, -1)  # results of dead queries are never read
    else:
        live = ~scores.dead
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    allowed, empty = _allowed(live, attn_mask, query.dtype)
    out = op(*(ad.deactivate(x) for x in (query, key, value)), allowed, dropout_p, **kwargs)
    mask = contracted("...ij,...jd->...id", scores, masks[2])
    if not is_at_hand(empty) or bool(empty.any()):
        out, mask = out.masked_fill(empty, 0), _without(mask, empty)
    return ad.emit(out, mask)


def _allowed(live: Tensor, given: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The attention mask: live keys among the allowed ones; and the queries without any, which get all allowed keys."""
    if given is None or given.dtype == torch.bool:
        before = torch.ones_like(live) if given is None else given
        after = live & before
        empty = before.any(-1, keepdim=True) & ~after.any(-1, keepdim=True)
        return after | (before & empty), empty
    given = given.to(dtype)
    after = torch.where(live, given, -math.inf)
    empty = (given > _EXCLUDED).any(-1, keepdim=True) & ~(after > _EXCLUDED).any(-1, keepdim=True)
    return torch.where(empty, given, after), empty


def _without(mask: PositionMask, empty: Tensor) -> PositionMask:
    """The mask with rows that are computed from nothing (`empty`) dead too; the same object if they already are."""
    if is_at_hand(empty) and not bool((empty & ~mask.dead).any()):
        return mask
    return PositionMask(mask.kept & ~empty, None if mask.feature is None else mask.feature | empty)


@register_rule(F.multi_head_attention_forward)
def multi_head_attention(
    ad: Interpreter,
    op: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Like its steps; tensors have shape (tokens, samples, channels)."""
    if query.dim() != 3:
        ad.refuse(f"has a rule for batches of tokens (3 dimensions), got {query.dim()} dimensions")
    if add_zero_attn or any(given is not None for given in (bias_k, bias_v, static_k, static_v)):
        ad.refuse("has no rule for bias_k, bias_v, static_k, static_v and add_zero_attn")
    dropout = dropout_p if training else 0.0

    def attention() -> tuple[Tensor, Tensor | None]:
        if in_proj_weight is None or use_separate_proj_weight:
            weights = [q_proj_weight, k_proj_weight, v_proj_weight]
        else:
            weights = list(in_proj_weight.chunk(3))
        biases = [None] * 3 if in_proj_bias is None else list(in_proj_bias.chunk(3))
        allowed = _combined(attn_mask, key_padding_mask, num_heads, query.dtype)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)  # type: ignore[arg-type]
            for x, weight, bias in zip((query, key, value), weights, biases)
        )
        found = None
        if need_weights:
            scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
            found = F.dropout(torch.softmax(scores if allowed is None else scores + allowed, -1), dropout)
            out = found @ v
            found = found.mean(1) if average_attn_weights else found
        else:
            out = F.scaled_dot_product_attention(q, k, v, allowed, dropout)
        return F.linear(out.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias), found

    return ad.follow(attention)


def _combined(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, heads: int, dtype: torch.dtype
) -> Tensor | None:
    """The bias that both masks add to the scores; it broadcasts to shape (samples, heads, queries, keys)."""

    def added(given: Tensor) -> Tensor:  # True in these two masks means to leave out
        return (
            torch.zeros_like(given, dtype=dtype).masked_fill(given, -math.inf) if given.dtype == torch.bool else given
        )

    total = None
    if attn_mask is not None:
        total = added(attn_mask)
        total = total.unflatten(0, (-1, heads)) if total.dim() == 3 else total[None, None]
    if key_padding_mask is not None:
        padding = added(key_padding_mask)[:, None, None]
        total = padding if total is None else total + padding
    return total
