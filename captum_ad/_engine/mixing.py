"""The axes of results of reductions, contractions, convolutions, attention and concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.axes import Axes, Axis, Role, axis, joined, reduced, role_of
from captum_ad._engine.dimensions import Call, elementwise, follows, unknown, windowed
from captum_ad._engine.merging import common_picks, merged
from captum_ad._engine.slices import with_windows

_DIM_FIRST = "mean sum amax amin any all max min argmax argmin prod logsumexp var std var_mean std_mean nanmean nansum"


@follows(*_DIM_FIRST.split(), "median", "nanmedian", "count_nonzero", "frobenius_norm")
def _reduce(call: Call) -> Axes:
    return _reduced(call, call.given(1, "dim"))


@follows("norm", torch.linalg.vector_norm, torch.linalg.norm)
def _reduce_second(call: Call) -> Axes:
    return _reduced(call, call.given(2, "dim"))


@follows("quantile", "nanquantile")
def _quantiles(call: Call) -> Axes:
    """Several at once are branches, as if each were found by itself and they were stacked."""
    q, dim = call.given(1, "q"), call.given(2, "dim")
    if not isinstance(q, Tensor) or q.dim() == 0:
        return _reduced(call, dim)
    if (by := call.of(q)) is not None:
        return unknown(call.out.shape, [call.x, by])
    each = _reduced(call, dim, call.out.shape[1:])
    return replace(each, dims=(axis(Role.BRANCH, len(q)), *each.dims))


@follows("mode", "kthvalue", torch.linalg.matrix_norm, "aminmax", "trace")
def _reduce_with_a_default(call: Call) -> Axes:
    place, default = {
        "mode": (1, -1), "kthvalue": (2, -1), "linalg_matrix_norm": (2, (-2, -1)),
    }.get(call.op.__name__, (9, None))  # fmt: skip
    return _reduced(call, call.given(place, "dim", default=default))


def _reduced(call: Call, dim: Any, shape: Sequence[int] | None = None) -> Axes:
    x, shape = call.x, tuple(call.out.shape if shape is None else shape)
    if isinstance(dim, Tensor) or isinstance(call.kwargs.get("other"), Tensor):  # max(x, other): element-wise
        return elementwise([axes for one in (*call.args, call.kwargs.get("other")) if (axes := call.of(one))], shape)
    if isinstance(dim, bool) or dim is None or dim == ():
        over = range(len(x.dims))
    else:
        over = [d % len(x.dims) for d in ([dim] if isinstance(dim, int) else dim)]  # type: ignore[assignment]
    return reduced(x, over, keepdim=len(shape) == len(x.dims))


@follows("cosine_similarity", F.pairwise_distance, torch.pairwise_distance, "dist")
def _pairs(call: Call) -> Axes:
    """An element-wise operation on two maps, summed over one dimension or all."""
    pair = [call.given(0, "x1", "input"), call.given(1, "x2", "other")]
    shape = tuple(torch.broadcast_shapes(*(x.shape for x in pair)))
    dim = call.given(2, "dim", default=1) if call.op.__name__ == "cosine_similarity" else -1
    over = [dim % len(shape)] if call.out.dim() else range(len(shape))
    both = elementwise([axes for x in pair if (axes := call.of(x)) is not None], shape)
    return reduced(both, over, keepdim=call.out.dim() == len(shape))


@follows("cdist")
def _distances(call: Call) -> Axes:
    """The distance of each position of one map to each position of another."""
    pair = [call.of(call.given(0, "x1")), call.of(call.given(1, "x2"))]
    lead = "abcdefgh"[: call.out.dim() - 2]
    ins = [lead[len(lead) + 2 - len(axes.dims) :] if axes else "" for axes in pair]
    axes = contracted_axes([f"{ins[0]}yz", f"{ins[1]}xz"], f"{lead}yx", pair, call.out)
    return replace(axes, scores=False)


@follows(F.linear, "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _linear(call: Call) -> Axes:
    return last_mixed(call.x, call.out.shape[-1])


def last_mixed(x: Axes, size: int) -> Axes:
    """The axes after a linear map over the last dimension."""
    mixed = x.mixed or x.crosses_samples([-1])
    return replace(x, dims=(*x.dims[:-1], axis(Role.CHANNEL, size)), mixed=mixed, scores=False)


@follows(*(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))
def _convolution(call: Call) -> Axes:
    x, shape = call.x, tuple(call.out.shape)
    channel = len(shape) - int(call.op.__name__[-2]) - 1
    if len(x.dims) != len(shape):
        return unknown(shape, [x])
    groups = call.given(6, "groups", default=1)
    one = x.dims[channel]
    samples = math.prod(atom.size for atom in one if atom.role is Role.SAMPLE)
    out = axis(Role.CHANNEL, shape[channel])
    mixed = x.mixed
    if samples > 1:
        outer = one[0].role is Role.SAMPLE and one[0].size == samples and groups % samples == 0
        if outer:  # each sample has its own filters
            out = joined((one[0], *axis(Role.CHANNEL, shape[channel] // samples)))
        else:
            mixed = True
    slid = replace(windowed(x, shape, channel + 1), scores=False)
    return replace(slid, dims=(*x.dims[:channel], out, *slid.dims[channel + 1 :]), mixed=mixed or slid.mixed)


@follows(F.scaled_dot_product_attention)
def _attention(call: Call) -> Axes:
    found = [call.of(call.given(i, name)) for i, name in enumerate(("query", "key", "value"))]
    known = [axes for axes in found if axes is not None]
    shape = tuple(call.out.shape)
    lead = merged(tuple(replace(axes, dims=axes.dims[:-2], scores=False) for axes in known), shape[:-2])
    query, value = found[0], found[2]
    rows = query.dims[-2] if query is not None else axis(Role.CHANNEL, shape[-2])
    columns = value.dims[-1] if value is not None else axis(Role.CHANNEL, shape[-1])
    return replace(lead, dims=(*lead.dims, rows, columns))


@follows(F.multi_head_attention_forward)
def _heads(call: Call) -> Axes:
    """Inputs are (tokens, samples, channels); results are the output, and attention weights (by heads, if asked)."""
    query, key = (call.of(call.given(i, name)) or call.x for i, name in enumerate(("query", "key")))
    if call.index == 0 or len(query.dims) != 3:
        return last_mixed(query, call.out.shape[-1])
    heads = (axis(Role.CHANNEL, call.out.shape[1]),) * (call.out.dim() - 3)
    return replace(query, dims=(query.dims[1], *heads, query.dims[0], key.dims[0]), scores=True)


@follows("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(call: Call) -> Axes:
    x, shape = call.x, call.out.shape
    if call.index == 0:
        return last_mixed(x, shape[-1])
    batch = x.dims[0 if call.args[-1] else 1]
    return replace(x, dims=(axis(Role.STATISTIC, shape[0]), batch, axis(Role.CHANNEL, shape[-1])))


@follows("embedding", "one_hot", "view_as_real")
def _looked_up(call: Call) -> Axes:
    return replace(call.x, dims=(*call.x.dims, axis(Role.CHANNEL, call.out.shape[-1])))


_POOLS = [f"{kind}_pool{n}d{i}" for kind in ("max", "adaptive_max") for n in (1, 2, 3) for i in ("", "_with_indices")]
_POOLS += [f"{kind}_pool{n}d" for kind in ("avg", "lp", "adaptive_avg") for n in (1, 2, 3)]


@follows(*_POOLS)
def _pool(call: Call) -> Axes:
    rank = int(call.op.__name__.partition("_pool")[2][0])
    return windowed(call.x, tuple(call.out.shape), call.out.dim() - rank)


def contracted_axes(ins: Sequence[str], result: str, operands: Sequence[Axes | None], out: Tensor) -> Axes:
    """The axes of a contraction.

    `ins` and `result` have a letter for each dimension of the operands and of the result; a constant operand is None.
    """
    known = [(labels, axes) for labels, axes in zip(ins, operands) if axes is not None]
    dims: list[Axis] = []
    for label, size in zip(result, out.shape):
        ones = [axes.dims[labels.index(label)] for labels, axes in known if label in labels]
        wide = [one for one in ones if math.prod(atom.size for atom in one) == size] or ones
        best = merged(tuple(Axes((one,)) for one in wide), (size,)).dims[0] if wide else axis(Role.CHANNEL, size)
        dims.append(best)
    gone = [{labels[d] for d in axes.samples} - set(result) for labels, axes in known]
    places = [{result.index(labels[d]) for d in axes.samples if labels[d] in result} for labels, axes in known]
    mixed = any(axes.mixed for _, axes in known) or any(gone) or len({frozenset(p) for p in places if p}) > 1
    alone = {axes.sample for _, axes in known if axes.sample is not None}
    mixed |= len(alone) > 1 or bool(alone and any(places))
    mixed |= len(known) > 1 and any(axes.hides_samples for _, axes in known)
    return Axes(
        tuple(dims),
        common_picks(axes for _, axes in known),
        _are_scores(known, result, len(operands)),
        mixed,
    )


def _are_scores(known: Sequence[tuple[str, Axes]], result: str, count: int) -> bool:
    """Whether the result relates positions of one map to positions of another, by a sum over channels."""
    if len(known) != 2 or count != 2:
        return False
    summed = set(known[0][0]) & set(known[1][0]) - set(result)
    channels = [
        {labels[d] for d, one in enumerate(axes.dims) if role_of(one) is Role.CHANNEL} for labels, axes in known
    ]
    places = [{labels[d] for d in axes.positions} for labels, axes in known]
    own = [ours & set(result) - other for ours, other in (places, places[::-1])]
    return bool(summed) and summed <= channels[0] & channels[1] and all(own)


@follows("cat", "concat", "concatenate")
def _cat(call: Call) -> Axes:
    dim = call.given(1, "dim", default=0)
    dim, given = dim % call.out.dim(), call.given(0, "tensors")
    found = [axes for x in given if (axes := call.of(x)) is not None]
    found = [axes for axes in found if len(axes.dims) == call.out.dim()]
    together = _together(found, dim, call.out)
    return with_windows(together, found, dim) if len(found) == len(given) else together


@follows("stack")
def _stack(call: Call) -> Axes:
    dim = call.given(1, "dim", default=0) % call.out.dim()
    found = [axes for x in call.given(0, "tensors") if (axes := call.of(x)) is not None]
    one = axis(Role.STATISTIC, 1)
    found = [replace(a, dims=(*a.dims[:dim], one, *a.dims[dim:])) for a in found]
    together = _together(found, dim, call.out)
    return with_windows(together, found, dim) if len(found) == len(call.given(0, "tensors")) else together


def _together(found: Sequence[Axes], dim: int, out: Tensor) -> Axes:
    """Axes of maps joined along a dimension: positions stay positions, whole maps are branches, samples a batch."""
    if not found:
        return unknown(out.shape, found)
    ones = [axes.dims[dim] for axes in found]
    apart = all(role_of(one) is Role.STATISTIC and axes.shape[dim] == 1 for one, axes in zip(ones, found))
    last = [axes.picks[-1] for axes in found if axes.picks]
    before = {axes.picks[:-1] for axes in found}
    if (
        apart
        and len(last) == len(found)
        and len({r for r, _ in last}) == len(before) == 1
        and len(set(last)) == len(last)
    ):
        role = last[0][0]  # what was taken apart
        found = [replace(axes, picks=axes.picks[:-1]) for axes in found]
    elif apart:
        role = Role.BRANCH if len(found) > 1 else Role.STATISTIC
    else:
        roles = {role_of(one) for one in ones}
        order = (Role.UNKNOWN, Role.SAMPLE, Role.POSITION, Role.CHANNEL, Role.PIECE, Role.BRANCH, Role.STATISTIC)
        role = next(role for role in order if role in roles)
    shape = [1 if d == dim else size for d, size in enumerate(out.shape)]
    single = [replace(axes, dims=(*axes.dims[:dim], axis(role, 1), *axes.dims[dim + 1 :])) for axes in found]
    both = merged(tuple(single), tuple(shape))
    wide = ones[0] if len(ones) == 1 and math.prod(a.size for a in ones[0]) == out.shape[dim] else None
    return replace(both, dims=(*both.dims[:dim], wide or axis(role, out.shape[dim]), *both.dims[dim + 1 :]))
