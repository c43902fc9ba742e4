"""Activation preservation: whether an explanation alone causes the same activations as the whole input."""

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
"""Where activations are compared."""


@dataclass(frozen=True)
class PathwayDeviation:
    """How far activations for a part of the input are from those for the whole input, by layer.

    Attributes
    ----------
    layers : tuple of str
        The layers' paths.
    relative : Tensor
        ‖part − whole‖ / ‖whole‖ of each layer, float64, shape (layers,): 0 for equal activations, 1 for all zeros; NaN
        if activations for the whole input are zero, or nothing is compared.
    cosine : Tensor
        Cosine of part and whole, float64, shape (layers,): 1 for the same direction; NaN if one of them is zero.
    compared : Tensor
        Fraction of the layer's activations that are compared, float64, shape (layers,).
    """

    layers: tuple[str, ...]
    relative: Tensor
    cosine: Tensor
    compared: Tensor

    @property
    def mean(self) -> float:
        """The mean of `relative` over the layers where it is not NaN; NaN if there is none."""
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
    (arXiv 2509.04588) propose activation preservation, because an explanation may keep the answer by a different path
    through the network, with features that the whole input does not activate. For a layer with activations a and a set
    R of positions, this measures ``‖a_R(part) − a_R(whole)‖ / ‖a_R(whole)‖``. Lower is better. We know only the
    source's abstract; the norm, the sets R and the comparison across maskings are our reading.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    inputs : Tensor or tuple of Tensor
        One input, shape (1, C, *spatial) or (1, T), or several inputs of one sample.
    explanation : SufficientExplanation or Tensor
        The explanation, or its mask, bool, shape (*spatial), True = in the explanation.
    layers : sequence of str
        Paths of modules, as in ``model.named_modules()``, that return one tensor each. If a module runs several times,
        the last run counts.
    baseline, additional_forward_args
        As for :func:`sufficient_explanation`.
    over : {"explanation", "everywhere"}
        The set R. ``"explanation"``: the layer's positions on the explanation, the same for every masking (those
        active under AD without growth); positions that a masking deactivates count as zero. ``"everywhere"``: all
        positions; off the explanation, AD has zeros and a baseline has activations.

    Returns
    -------
    PathwayDeviation
        Deviations in the order of `layers`.

    Raises
    ------
    UnknownNameError
        If a layer is unknown; the message lists similar names.
    ValueError, TypeError
        If a shape does not fit, a layer did not run or does not return a tensor, or `over` is unknown.
    UnsupportedOperationError
        If AD does not support the model, which ``over="explanation"`` needs for baselines too.

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
                f"layer {name!r} returns shape {tuple(values.shape)} for a part of the input but "
                f"{tuple(original.shape)} for all of it: choose a layer whose shape does not depend on the mask"
            )
        chosen = region[name].active.expand(original.shape) if over == "explanation" else torch.ones_like(values).bool()
        found.append((*_compared(values[chosen], original[chosen]), float(chosen.double().mean())))
    return PathwayDeviation(tuple(modules), *(torch.tensor(one, dtype=torch.float64) for one in zip(*found)))


@dataclass(frozen=True)
class _Activation:
    """A layer's output, zero where deactivated, and where it is active (broadcasts to the output)."""

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
        forward.skip_dead = False  # hooks need whole maps
    runner, shown, *_ = posed(forward, x)
    with torch.no_grad(), _watching(modules) as seen:
        # Copy the input, since some models write into it.
        runner.outputs(shown.clone(), mask=mask[None])
    silent = [name for name in modules if name not in seen]
    if silent:
        raise ValueError(
            f"layer {silent[0]!r} did not run: choose a module that the model's forward calls, e.g. its parent module"
        )
    return {name: _settled(*seen[name]) for name in modules}


def _settled(values: Tensor, kept: Tensor | None, dead: Tensor | None) -> _Activation:
    if kept is None or dead is None:
        return _Activation(values.double(), torch.ones((1,) * values.dim(), dtype=torch.bool, device=values.device))
    return _Activation(values.double().masked_fill(dead, 0), kept)


@contextmanager
def _watching(modules: dict[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor | None, Tensor | None]]]:
    """Record what the modules return inside a with block, and its mask."""
    seen: dict[str, tuple[Tensor, Tensor | None, Tensor | None]] = {}

    def note(name: str, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"layer {name!r} returns {type(output).__name__}, expected a tensor: choose a child or parent module"
            )
        tag = tag_of(output)
        mask = None if tag is None else tag.mask
        # Copy the output, since later operations may write into it.
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
