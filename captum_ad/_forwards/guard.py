"""What is refused because it would otherwise go wrong in silence."""

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
"""Who paints zeros into inputs at the moment, on its own account: an ADForward without a mask is a mistake then."""

originals: dict[tuple[type, str], Callable[..., Any]] = {}
"""Captum's own methods of the classes whose attributors mask an ADForward, or refuse it, by themselves."""


_whole: ContextVar[bool] = ContextVar("whole", default=False)


@contextmanager
def on_purpose() -> Iterator[None]:
    """A forward without a mask that is meant so, whoever runs: the whole input's."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def refuse_paint(mask: Any, kind: str) -> None:
    """Refuse to run without a mask where somebody paints and nobody said so.

    Parameters
    ----------
    mask : Any
        What the forward was given.
    kind : str
        The forward's class, for the message.

    Raises
    ------
    ValueError
        If there is no mask, and a perturbation attributor of Captum's kind is running that paints into inputs.
    """
    if mask is not None or _whole.get():
        return
    a = f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
    if painter.get() is not None:
        raise ValueError(
            f"{painter.get()} was given a function that calls {a}, so that it "
            f"paints zeros, and no mask reaches the {kind}. Give it the {kind} itself, with what your function adds "
            f"inside, e.g. {kind}(nn.Sequential(model, nn.Softmax(1))); or say baselines=0 if paint is what you want"
        )
    stranger = _stranger()
    if stranger is not None:
        raise ValueError(
            f"{stranger} is not registered with captum_ad and called {a} without a mask, so it would paint. "
            "captum_ad.register_captum() lets Captum's own attributors mask, "
            f"captum_ad.register_captum({stranger}) one of yours; or call the {kind} with mask= in its attribute(), "
            "or give the attributor the plain model"
        )


def refuse_unbound(target: object) -> None:
    """Refuse a target that does not know the whole input's answer yet where an attributor runs other inputs.

    Raises
    ------
    ValueError
        If an attributor of Captum's is running that masks nothing: what it runs between the baseline and the image
        is not a whole input.
    """
    who = next((one for one in _running() if not isinstance(one, PerturbationAttribution)), None)
    if who is not None:
        raise ValueError(
            f"{target!r} depends on the answer to the whole input, and {type(who).__name__} may run other inputs as "
            f"well: say which one is meant, {type(who).__name__}(ad.bound(x), ...).attribute(x)"
        )


def _stranger() -> str | None:
    """The perturbation attributor that is running and whose ``attribute`` is not one that captum_ad has wrapped."""
    who = next((one for one in _running() if isinstance(one, PerturbationAttribution)), None)
    if who is None:
        return None
    owner = next((kind for kind in type(who).__mro__ if "attribute" in vars(kind)), type(who))
    return None if (owner, "attribute") in originals else type(who).__name__


def _running() -> Iterator[Attribution]:
    """The attributors of Captum's kind that are running, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("attribute", "attribute_future") and frame.f_code.co_argcount:
            who = frame.f_locals.get(frame.f_code.co_varnames[0])
            if isinstance(who, Attribution):
                yield who
        frame = frame.f_back


def refuse_positions(output: Any, target: Any) -> None:
    """Refuse an output with positions of which a target does not pick one number for each sample.

    Parameters
    ----------
    output : Any
        What the forward returned.
    target : Any
        As Captum takes it.

    Raises
    ------
    ValueError
        If the output has more dimensions than (N, classes) and the target is a class index, or nothing.
    """
    if not isinstance(output, Tensor) or output.dim() < 3:
        return
    one: Any = target[0] if isinstance(target, list) and target else target
    if isinstance(one, Sequence) and len(one) == output.dim() - 1:
        return
    index = f"{one if isinstance(one, int) else 0}"
    raise ValueError(
        f"the output has shape {tuple(output.shape)}, of which target={target!r} leaves several numbers a sample, "
        "which would be an attribution of positions as if they were samples. Say what to explain, e.g. "
        f"ADForward(model, target=captum_ad.targets.Region({index})), the region that the network gives to the "
        f"class; or one position, target=({index}, row, column)"
    )
