"""Refuse calls that would silently give wrong results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from captum.attr import Attribution, PerturbationAttribution
from torch import Tensor

painter: ContextVar[str | None] = ContextVar("painter", default=None)
"""The name of the attributor that is painting zeros into inputs now: an ADForward without a mask is then a mistake."""

originals: dict[tuple[type, str], Callable[..., Any]] = {}
"""Captum's original methods that captum_ad has wrapped, so that they mask an ADForward or refuse it."""


_whole: ContextVar[bool] = ContextVar("whole", default=False)


@contextmanager
def on_purpose() -> Iterator[None]:
    """Context manager that allows forwards without a mask (of the whole input) while an attributor is running."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def refuse_paint(mask: Any, kind: str) -> None:
    """Refuse a forward without a mask while an attributor is running that paints into inputs.

    Parameters
    ----------
    mask : Any
        The mask that the forward was given.
    kind : str
        The forward's class, for the message.

    Raises
    ------
    ValueError
        If there is no mask, and a perturbation attributor of Captum (or a subclass) is running that paints.
    """
    if mask is not None or _whole.get():
        return
    a = f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
    if painter.get() is not None:
        raise ValueError(
            f"{painter.get()} was given a function that calls {a}, so it paints zeros, and no mask reaches the {kind}. "
            f"Give it the {kind} itself, and put what your function adds inside the model, e.g. "
            f"{kind}(nn.Sequential(model, nn.Softmax(1))); or give baselines=0 if you want to paint zeros"
        )
    stranger = _stranger()
    if stranger is not None:
        raise ValueError(
            f"{stranger} is not registered with captum_ad and called {a} without a mask, so it would paint. Call "
            "captum_ad.register_captum() to make Captum's own attributors mask, or "
            f"captum_ad.register_captum({stranger}) for your own; or call the {kind} with mask= in its attribute(), "
            "or give the attributor the plain model"
        )


def refuse_unbound(target: object) -> None:
    """Refuse a target that is not bound to a whole input while an attributor runs other inputs.

    Raises
    ------
    ValueError
        If an attributor of Captum is running that does not mask: inputs between the baseline and the image are not
        whole inputs.
    """
    who = next((one for one in _running() if not isinstance(one, PerturbationAttribution)), None)
    if who is not None:
        raise ValueError(
            f"{target!r} depends on the answer to the whole input, but {type(who).__name__} may run other inputs as "
            f"well: say which input is the whole one, {type(who).__name__}(ad.bound(x), ...).attribute(x)"
        )


def _stranger() -> str | None:
    """The type name of the running perturbation attributor, if captum_ad has not wrapped its ``attribute``."""
    who = next((one for one in _running() if isinstance(one, PerturbationAttribution)), None)
    if who is None:
        return None
    owner = next((kind for kind in type(who).__mro__ if "attribute" in vars(kind)), type(who))
    return None if (owner, "attribute") in originals else type(who).__name__


def _running() -> Iterator[Attribution]:
    """The attributors that are running (Captum's and their subclasses), innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("attribute", "attribute_future") and frame.f_code.co_argcount:
            who = frame.f_locals.get(frame.f_code.co_varnames[0])
            if isinstance(who, Attribution):
                yield who
        frame = frame.f_back


def refuse_positions(output: Any, target: Any) -> None:
    """Refuse an output with positions if the target does not select one number per sample.

    Parameters
    ----------
    output : Any
        The forward's output.
    target : Any
        The target, in Captum's form.

    Raises
    ------
    ValueError
        If the output has more dimensions than (N, classes), and the target is a class index or None.
    """
    if not isinstance(output, Tensor) or output.dim() < 3:
        return
    one: Any = target[0] if isinstance(target, list) and target else target
    if isinstance(one, Sequence) and len(one) == output.dim() - 1:
        return
    index = f"{one if isinstance(one, int) else 0}"
    raise ValueError(
        f"the output has shape {tuple(output.shape)}, of which target={target!r} leaves several numbers per sample, "
        "so positions would be attributed as if they were samples. Say what to explain, e.g. "
        f"ADForward(model, target=captum_ad.targets.Region({index})), the region that the network gives to the "
        f"class; or one position, target=({index}, row, column)"
    )
