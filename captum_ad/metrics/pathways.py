"""Activation preservation: does an explanation alone run through the network as the whole input did."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._common.layers import modules_at
from captum_ad._engine.tags import tag_of
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.baseline_forward import Baseline, MaskedForward
from captum_ad._scoring import masked
from captum_ad.metrics.inputs import Inputs, posed, with_arguments
from captum_ad.metrics.robustness import explanation_mask
from captum_ad.metrics.scan import SufficientExplanation

OVER = ("explanation", "everywhere")
"""Which activations are compared."""


@dataclass(frozen=True)
class PathwayDeviation:
    """How far activations with a part of the input are from those with all of it, layer by layer.

    Attributes
    ----------
    layers : tuple of str
        The layers' paths.
    relative : Tensor
        ‖part − whole‖ / ‖whole‖ of each, float64, shape (layers,): 0 is the same, 1 as far as nothing at all; NaN where
        the whole input's activations are zero, or nothing is compared.
    cosine : Tensor
        Of part and whole, float64, shape (layers,): 1 is the same direction; NaN where one of them is zero.
    compared : Tensor
        Share of the layer's activations that are compared, float64, shape (layers,).
    """

    layers: tuple[str, ...]
    relative: Tensor
    cosine: Tensor
    compared: Tensor

    @property
    def mean(self) -> float:
        """Of `relative` over the layers where it is a number; NaN if there is none."""
        return float(self.relative.nanmean())


def activation_deviation(
    forward_func: nn.Module,
    inputs: Inputs,
    explanation: SufficientExplanation | Inputs,
    layers: Sequence[str],
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    over: str = "explanation",
) -> PathwayDeviation:
    """Relative L2 and cosine between a network's activations on the whole input and with the explanation alone.

    Zhang and McMillan 2025, *Beyond Output Faithfulness: Learning Attributions that Preserve Computational Pathways*
    (arXiv 2509.04588) propose activation preservation: an explanation may keep the answer by another way through the
    network, by detectors that did not answer to the whole input. For a layer with activations a, over a set R of them,
    ``‖a_R(part) − a_R(whole)‖ / ‖a_R(whole)‖``. The norm, the sets R and the comparison across maskings are our own
    reading: of the source we know the abstract. Lower is better.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    inputs : Tensor or tuple of Tensor
        One input, shape (1, C, *spatial) or (1, T), or several inputs of one sample.
    explanation : SufficientExplanation or Tensor
        Or a mask, bool, shape (*spatial), True = in the explanation.
    layers : sequence of str
        Paths of modules, as ``model.named_modules()`` spells them, that return one tensor each. Of a module that runs
        several times the last run counts.
    baseline, additional_forward_args
        As for :func:`sufficient_explanation`.
    over : {"explanation", "everywhere"}
        R. ``"explanation"``: the positions of a layer that lie on the explanation, the same ones for every masking
        (those active under AD without growth); what a masking deactivates among them counts as zero. ``"everywhere"``:
        all; paint has activations off the explanation, AD zeros.

    Returns
    -------
    PathwayDeviation
        In the order of `layers`.

    Raises
    ------
    UnknownNameError
        If there is no layer of that name; the message lists near ones.
    ValueError, TypeError
        If a shape does not fit, a layer did not run or returns no tensor, or nothing fits `over`.
    UnsupportedOperationError
        If AD cannot follow the model, which ``over="explanation"`` needs for paint, too.

    Examples
    --------
    >>> from captum_ad import ADForward
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    >>> x, left = torch.rand(1, 3, 8, 8), torch.arange(8).expand(8, 8) < 4
    >>> found = activation_deviation(ADForward(model), x, left, ["0", "1"])
    >>> found.relative, found.compared
    (tensor([0., 0.], dtype=torch.float64), tensor([0.5000, 0.5000], dtype=torch.float64))
    """
    if over not in OVER:
        raise ValueError(f"over must be one of {', '.join(map(repr, OVER))}, got {over!r}")
    model = forward_func.model if isinstance(forward_func, MaskedForward) else forward_func
    mask = explanation_mask(explanation, inputs)
    asked = masked(with_arguments(forward_func, additional_forward_args), baseline)
    modules = modules_at(model, layers)
    part, whole = (_run(asked, modules, inputs, m) for m in (mask, torch.ones_like(mask)))
    region = part
    if over == "explanation":
        follower = ADForward(asked.model, "no-growth", select=asked.select, target=asked.target)
        region = _run(follower, modules, inputs, mask)
    found = []
    for name in modules:
        values, original = part[name].values, whole[name].values
        if values.shape != original.shape:
            raise ValueError(
                f"layer {name!r} returns {tuple(values.shape)} with a part of the input and {tuple(original.shape)} "
                "with all of it: choose a layer whose shape does not depend on what is there"
            )
        chosen = region[name].active.expand(original.shape) if over == "explanation" else torch.ones_like(values).bool()
        found.append((*_compared(values[chosen], original[chosen]), float(chosen.double().mean())))
    return PathwayDeviation(tuple(modules), *(torch.tensor(one, dtype=torch.float64) for one in zip(*found)))


@dataclass(frozen=True)
class _Activation:
    """What a layer returned, zero where deactivated, and which of it is active (broadcasts to it)."""

    values: Tensor
    active: Tensor


def _compared(part: Tensor, whole: Tensor) -> tuple[float, float]:
    length, size = part.norm(), whole.norm()
    relative = (part - whole).norm() / size if len(whole) else size * torch.nan
    return float(relative if size > 0 else size * torch.nan), float((part @ whole) / (length * size))


def _run(forward: MaskedForward, modules: dict[str, nn.Module], x: Inputs, mask: Tensor) -> dict[str, _Activation]:
    """The layers' activations under a mask."""
    if isinstance(forward, ADForward) and forward.skip_dead:
        forward = copy.copy(forward)
        forward.skip_dead = False  # so that hooks see whole maps
    runner, shown, *_ = posed(forward, x)
    with torch.no_grad(), _watching(modules) as seen:
        # A copy: some models write into their input.
        runner.outputs(shown.clone(), mask=mask[None])
    silent = [name for name in modules if name not in seen]
    if silent:
        raise ValueError(
            f"layer {silent[0]!r} did not run: the model's forward calls something else in its place. Choose a module "
            "that it calls, e.g. the one around it"
        )
    return {name: _settled(*seen[name]) for name in modules}


def _settled(values: Tensor, kept: Tensor | None, dead: Tensor | None) -> _Activation:
    if kept is None or dead is None:
        return _Activation(values.double(), torch.ones((1,) * values.dim(), dtype=torch.bool, device=values.device))
    return _Activation(values.double().masked_fill(dead, 0), kept)


@contextmanager
def _watching(modules: dict[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor | None, Tensor | None]]]:
    """What the modules return while the block runs, with the mask that it wears there."""
    seen: dict[str, tuple[Tensor, Tensor | None, Tensor | None]] = {}

    def note(name: str, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"layer {name!r} returns {type(output).__name__}, expected a tensor: choose a module inside or around"
            )
        tag = tag_of(output)
        mask = None if tag is None else tag.mask
        # A copy: what comes next may write into it.
        seen[name] = (output.clone(), None, None) if mask is None else (output.clone(), mask.kept, mask.dead)

    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
