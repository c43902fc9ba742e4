"""Speed for one image under many masks: keep its run without a mask, and compute only what a mask changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import nn

from captum_ad._engine.kept import KeptRun, dead_boxes
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.provenance import UnknownOriginError

_runs: ContextVar[dict[nn.Module, KeptRun] | None] = ContextVar("runs", default=None)


@contextmanager
def keeping_runs() -> Iterator[None]:
    """Context manager that makes an ADForward faster on one image under many masks.

    The first masked forward of an image also runs it without a mask and keeps the activations. Later ones compute
    only the region that their mask changes, and take the rest from the kept activations. These need the memory of one
    sample's activations (1 GiB at most). It works for one input of shape (1, C, *spatial), or expanded from it with
    ``x.expand(n, ...)``, without gradients; any other forward is computed as a whole. Captum's attributors on an
    ADForward, and RegionOcclusion, use it by themselves. Do not write to the image within the context.

    Examples
    --------
    >>> import torch
    >>> from captum_ad import ADForward, keeping_runs
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    >>> ad, x, masks = ADForward(model), torch.rand(1, 3, 32, 32), torch.ones(8, 32, 32, dtype=torch.bool)
    >>> for i in range(8):
    ...     masks[i, 4 * i : 4 * i + 4, :8] = False
    >>> with torch.no_grad(), keeping_runs():
    ...     scores = ad(x.expand(8, 3, 32, 32), mask=masks)
    >>> torch.allclose(scores, ad(x.expand(8, 3, 32, 32), mask=masks), atol=1e-5)
    True
    """
    token = _runs.set({})
    try:
        yield
    finally:
        _runs.reset(token)


def kept_run(owner: nn.Module, x: Any, mask: PositionMask | None, record: Callable[[KeptRun], None]) -> KeptRun | None:
    """The kept run of the image that a batch is expanded from; None if there is none, or it would not help.

    Parameters
    ----------
    owner : Module
        The forward whose run it is.
    x : Tensor
        The batch.
    mask : PositionMask or None
        Its mask.
    record : callable
        ``record(kept)`` runs the forward on ``kept.x`` without a mask, and records it in `kept`.
    """
    runs = _runs.get()
    if runs is None or mask is None or torch.is_grad_enabled() or not x.is_floating_point():
        return None
    if len(x) > 1 and x.stride(0) != 0:
        return None
    kept = runs.get(owner)
    if kept is None or not kept.is_of(x):
        if dead_boxes(mask, x.shape) is None:  # this mask could not use it: do not run it yet
            return None
        kept = runs[owner] = KeptRun(x[:1])
        if any(module.training for module in owner.modules()):
            return None
        try:
            kept.finished = _is_repeatable(x.device, partial(record, kept))
        except UnknownOriginError:
            del runs[owner]
            raise
        except Exception:  # if the model itself is the reason, the masked forward raises it too
            kept.forget()
    return kept if kept.finished else None


def _is_repeatable(device: torch.device, run: Callable[[], None]) -> bool:
    """Run a function and return whether it drew no random numbers; the state of the generators is restored."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        before = [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in devices)]
        run()
        after = [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in devices)]
    return all(map(torch.equal, before, after))
