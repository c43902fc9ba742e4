"""One run of a model under masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.jit._fuser import optimized_execution

from captum_ad._engine import Interpreter, PositionMask
from captum_ad._engine.provenance import Provenance
from captum_ad._forwards.arguments import Arranged, as_features
from captum_ad._forwards.compiled import Eager

if TYPE_CHECKING:
    from captum_ad._forwards.ad_forward import ADForward


def followed(
    forward: ADForward,
    engine: Callable[..., Interpreter],
    given: Arranged,
    masks: Sequence[PositionMask | None],
    *,
    skip_dead: bool,
    memory: bool,
) -> Any:
    """Run a model under masks, and return what the forward selects of its output, zero where deactivated.

    Parameters
    ----------
    forward : ADForward
        The model, and how masks pass through it.
    engine : callable
        Makes an interpreter.
    given : Arranged
        The arguments of the call.
    masks : sequence of (PositionMask or None)
        The mask of each input.
    skip_dead : bool
        Compute only a box around the active positions, where that is faster.
    memory : bool
        Follow all memory (slow), for a model with tensors of unknown origin.
    """
    constants = [x for x, m in zip(given.inputs, masks) if m is None and isinstance(x, Tensor)]
    constants += [x for x in given.more.values() if isinstance(x, Tensor)]
    ad = engine(forward.model, forward.rule, forward.tau, constants, skip_dead=skip_dead)
    inputs = [x if m is None else as_features(x) for x, m in zip(given.inputs, masks)]
    features = [x if m is None else ad.start(x, None if m.is_full() else m) for x, m in zip(inputs, masks)]
    if memory:
        ad.provenance = Provenance(*(x for x, m in zip(features, masks) if m is not None))
    unfused = optimized_execution(False) if ad.provenance else None  # fused kernels would not be seen
    try:
        with Eager(), ad.provenance or nullcontext(), unfused or nullcontext(), ad:
            output = forward._selected(given.call(forward.model, features))
        return ad.finish(output)
    finally:
        ad.forget()
