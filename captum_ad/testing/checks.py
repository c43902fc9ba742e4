"""The checks. Each runs the network in ways that must agree, and names the first operation where they do not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from captum_ad._common.errors import NaNWarning
from captum_ad._forwards.ad_forward import ADForward
from captum_ad.testing.report import Check
from captum_ad.testing.watch import Alike, Broken, Result, Run, equal, first_difference, run, same_bits, watched
from captum_ad.trace.records import Checkpoint

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # relative to the largest value; 2e-2 for other dtypes
_LARGE = 1e30
_HELP = "see help(captum_ad.register_rule)"


def eval_mode(model: nn.Module) -> Check:
    """Check that no module is in train mode."""
    training = [(path, module) for path, module in model.named_modules() if module.training]
    if not training:
        return Check("eval mode", True, "every module")
    telling = [(path, module) for path, module in training if isinstance(module, (_BatchNorm, _DropoutNd))]
    path, module = (telling or training)[0]
    more = f", like {len(training) - 1} more" if len(training) > 1 else ""
    what = f"in train mode{more}: BatchNorm and Dropout mix samples and change the model there. Call model.eval() first"
    return Check("eval mode", False, what, path, type(module).__name__)


def repeatable(ad: ADForward, x: Tensor) -> Check:
    """Check that the plain model returns the same output twice."""
    out = plain(ad, x)
    if out.dim() == 0 or len(out) != len(x):
        raise ValueError(
            f"the output has shape {tuple(out.shape)} for {len(x)} samples, expected one row per sample: use "
            "ADForward(model, select=...) to pick such a tensor from the output, or target=... to compute one"
        )
    if same_bits(plain(ad, x), out):
        return Check("repeatable", True, "the model gives the same bits twice")
    what = "gives something else for the same input the next time: it is random, or remembers its last call"
    return _failed("repeatable", what, run(ad, x, None), run(ad, x, None))


def rules(ad: ADForward, x: Tensor, masks: Sequence[Tensor]) -> Check:
    """Check that masks propagate through every operation, even if nothing is kept."""
    seen: set[int] = set()
    for mask in masks:
        watched(ad, x, mask, lambda result: seen.add(result.checkpoint.number))
    return Check("every operation has a rule", True, f"{len(seen)} operations on features, {len(masks)} masks")


def theorem_1(ad: ADForward, x: Tensor, masks: Sequence[Tensor]) -> Check:
    """Check that a whole sample has the plain model's output, alone or next to a masked one."""
    name, n, full = "Theorem 1", len(x), torch.ones_like(masks[0])
    expected = plain(ad, x)
    if not same_bits(ad(x), expected) or not same_bits(ad(x, mask=full), expected):
        return Check(name, False, "with nothing masked, the output is not the model's own")
    both, error = torch.cat([x, x]), 0.0
    answer = _in_batch(ad, both)
    if isinstance(answer, str):
        return Check(name, True, f"nothing masked: bit for bit; beside a masked sample not tried, {answer}")
    if len(answer) != 2 * n:
        return Check(name, False, f"the output has {len(answer)} rows for {2 * n} samples, and {n} for {n}")
    expected = answer[:n]
    for mask in masks:
        beside = torch.cat([full, mask])
        out = ad(both, mask=beside)[:n]
        error = max(error, _distance(out, expected))
        if not _close(out, expected):
            what = f"a sample kept whole beside a masked one comes out otherwise, by {error:.1g} of the largest output"
            return _failed(name, what, run(ad, both, None), run(ad, both, beside), _close_in(range(n), 2 * n))
    return Check(name, True, f"nothing masked: bit for bit; kept whole beside a masked sample: {_exactness(error)}")


def missing(ad: ADForward, x: Tensor, masks: Sequence[Tensor], seed: int = 0) -> Check:
    """Check that deactivated values have no influence, neither in the input nor in any layer."""
    name, finite = "missing means missing", bool(plain(ad, x).isfinite().all())
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 4, x.shape, generator=generator).to(x.device)
    junk = torch.randn(x.shape, generator=generator).to(x)
    for kind, number in enumerate((_LARGE, math.inf, math.nan)):
        junk = junk.masked_fill(kinds == kind, torch.tensor(number).to(x))
    for mask in masks:
        kept, expected = mask[:, None] if x.dim() > 2 else mask, ad(x, mask=mask)
        if finite and not bool(expected.isfinite().all()):
            return _failed(name, "makes NaN or Inf of a masked input", run(ad, x, mask), None)
        spoilt = _laid_out_as(x, x.where(kept, junk))
        if not same_bits(ad(spoilt, mask=mask), expected):
            what = "depends on the input's values at masked positions"
            return _failed(name, what, run(ad, x, mask), run(ad, spoilt, mask))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NaNWarning)  # all of it, where nothing is kept
            by_nan = ad(_laid_out_as(x, x.where(kept, math.nan)))
        if not same_bits(by_nan, expected):
            return Check(name, False, "NaN without a mask gives something else than a mask")
        inside = watched(ad, x, mask)
        for number in (math.nan, _LARGE):
            if not same_bits(watched(ad, x, mask, junk=number), inside):
                what = (
                    f"lets {number:g} at deactivated positions of its operand through: its rule has to read "
                    f"ad.deactivate(x), which selects (NaN times zero is NaN), or to hand the mask on; {_HELP}"
                )
                return _failed(name, what, run(ad, x, mask), run(ad, x, mask, junk=number))
    return Check(name, True, "noise, 1e30, Inf or NaN there, in the input and in every layer: the same bits")


def monotone(ad: ADForward, x: Tensor, masks: Sequence[Tensor]) -> Check:
    """Check that a larger input mask makes no layer's mask smaller anywhere; `masks` are nested."""
    name = "monotone masks"
    traces = [ad.trace(x, mask=mask).operations for mask in masks]
    for small, large in pairwise(traces):
        for a, b in zip(small, large):
            if (a.module, a.operation, a.shape) != (b.module, b.operation, b.shape):
                return _at(name, "does not run under every mask: what the model does depends on its input", b)
            if bool((_dead(b) & ~_dead(a)).any()):
                what = (
                    "deactivates a position when more of the input is kept: the mask that its rule emits has to grow "
                    "with its operand's"
                )
                return _at(name, what, b)
    return Check(name, True, f"at {len(traces[0])} places, {len(masks)} masks that grow")


def no_lost_masks(ad: ADForward, x: Tensor, masks: Sequence[Tensor]) -> Check:
    """Check that masks are not lost: with nothing kept, no map is active, and the output depends on the mask."""
    name = "no lost masks"
    alive: list[Checkpoint] = []

    def look(result: Result) -> None:
        several = math.prod(result.checkpoint.shape[2:]) > 1  # a vector from a linear layer has no positions
        features = result.checkpoint.features
        none = features is not None and not bool(features.any())  # class and register tokens before attention
        if result.of_nothing and several and result.checkpoint.share > 0 and not none:
            alive.append(result.checkpoint)

    watched(ad, x, torch.zeros_like(masks[0]), look)
    if alive:
        what = f"makes active positions of an operand of which nothing is kept: its rule drops the mask; {_HELP}"
        return _at(name, what, alive[0])
    whole = plain(ad, x)
    if all(same_bits(ad(x, mask=mask), whole) for mask in masks):
        either = " (nor does it depend on the input)" if same_bits(plain(ad, -x), whole) else ""
        return Check(name, False, f"the output is the model's own under every mask: it does not depend on them{either}")
    return Check(name, True, "where nothing is kept nothing comes alive; the output depends on the mask")


def batches(ad: ADForward, x: Tensor, masks: Sequence[Tensor]) -> Check:
    """Check that a sample has the same output in a batch as alone."""
    name, error = "batches do not mix", 0.0
    many, mask = torch.cat([x] * len(masks)), torch.cat(list(masks))
    if isinstance(answer := _in_batch(ad, many), str):
        return Check(name, None, f"not tried, {answer}")
    together = ad(many, mask=mask)
    for i in range(len(many)):
        one = many[i : i + 1], mask[i : i + 1]
        alone = ad(one[0], mask=one[1])
        error = max(error, _distance(together[i : i + 1], alone))
        if not _close(together[i : i + 1], alone):
            what = f"gives something else for a sample alone and among {len(many)}"
            return _failed(name, what, run(ad, *one), run(ad, many, mask), _close_in(range(i, i + 1), len(many)))
    return Check(name, True, f"alone and among {len(many)}: {_exactness(error)}")


def plain(ad: ADForward, x: Tensor) -> Tensor:
    """The output of the plain model."""
    return ad._score(ad._read(ad._selected(ad.model(x)), (x,)), (x,), {})


def _laid_out_as(x: Tensor, values: Tensor) -> Tensor:
    """The same values with the strides of `x`, because strides affect the choice of kernels and so rounding."""
    return torch.empty_like(x, dtype=values.dtype).copy_(values)


def _in_batch(ad: ADForward, x: Tensor) -> Tensor | str:
    """The plain model's output for a larger batch; or why the model does not accept one."""
    try:
        return plain(ad, x)
    except Exception as error:  # the model's own code may raise anything
        return f"as the model takes no {len(x)} samples: {error}"


def _failed(name: str, what: str, reference: Run, other: Run | None, alike: Alike = equal) -> Check:
    """A failed check, with the first operation where two runs differ (or where one is not finite)."""
    try:
        found = first_difference(reference, other, alike)
    except Broken:  # report the failure anyway, without the operation
        found = None
    return Check(name, False, what) if found is None else _at(name, what, found)


def _at(name: str, what: str, found: Checkpoint) -> Check:
    return Check(name, False, what, found.module, found.module_type, found.operation)


def _close_in(samples: range, total: int) -> Alike:
    """Compare results in some samples of a batch. Results without a known batch dimension count as close."""

    def part(result: Result) -> Tensor | None:
        values = result.values
        place = None if result.axes is None else result.axes.sample_numbers(len(values.shape))
        if place is None or place[2] != total:
            return None if place is None or place[2] != len(samples) else values
        dim, numbers, _ = place
        chosen = [i for i, number in enumerate(numbers) if number in samples]
        return values.index_select(dim, torch.tensor(chosen, device=values.device))

    def alike(reference: Result, other: Result) -> bool:
        one, another = part(reference), part(other)
        return one is None or another is None or one.shape != another.shape or _close(another, one)

    return alike


def _close(x: Tensor, expected: Tensor) -> bool:
    return same_bits(x, expected) or _distance(x, expected) <= _TOLERANCE.get(expected.dtype, 2e-2)


def _distance(x: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value; infinite if only one of the two is finite somewhere."""
    if same_bits(x, expected):
        return 0.0
    if x.shape != expected.shape or not bool((x.isfinite() & expected.isfinite()).all()):
        return math.inf
    x, expected = x.double(), expected.double()
    return float((x - expected).abs().max()) / max(float(expected.abs().max()), 1e-300)


def _exactness(error: float) -> str:
    return f"to rounding ({error:.0e} of the largest output)" if error else "bit for bit"


def _dead(checkpoint: Checkpoint) -> Tensor:
    dead = ~checkpoint.mask if checkpoint.features is None else checkpoint.features & ~checkpoint.mask
    return dead.expand(checkpoint.shape)
