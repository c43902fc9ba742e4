"""Attributions of one prediction, by any method with any masking (AD or a baseline)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from torch import Tensor, nn

from captum_ad._common.errors import UnknownNameError
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.baseline_forward import BaselineForward, MaskedForward, Masking, masked_forward
from captum_ad._scoring import ToConfidence
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.attr.responsibility import MUTANTS
from captum_ad.baselines import BASELINES, baseline
from captum_ad.targets.base import Target, tensor_of
from captum_ad.targets.classes import checked_confidence

WINDOW = 32
"""Default side of Occlusion's square window, in pixels."""


SEARCHED = 4
"""CausalResponsibility and Rise run this many inputs per sample of a task."""


@dataclass(frozen=True)
class Task:
    """One prediction to explain, and the effort to spend on it.

    Attributes
    ----------
    x : Tensor
        The model's input, shape (1, C, H, W).
    target : int or Target
        The class whose raw output is explained, or any other target.
    superpixels : Tensor
        Feature mask of FeatureAblation, KernelShap and Lime, int64, shape (1, 1, H, W).
    samples : int
        Number of perturbations of KernelShap and Lime; CausalResponsibility and Rise run four times as many.
    batch_size : int
        Perturbed inputs per forward.
    seed : int
        Seed of the random perturbations; every masking gets the same ones.
    window : int
        Side of Occlusion's square window, in pixels; its stride is half of that.
    to_confidence : str or callable
        How the model's output is turned into the confidences that CausalResponsibility and Rise use.
    """

    x: Tensor
    target: int | Target
    superpixels: Tensor
    samples: int
    batch_size: int
    seed: int
    window: int = WINDOW
    to_confidence: ToConfidence = "softmax"

    @property
    def index(self) -> int | None:
        """The target to pass to attributors: the class; None if the forward has the target."""
        return None if isinstance(self.target, Target) else self.target

    @property
    def graded(self) -> bool:
        """Whether a share of the original confidence is a meaningful threshold."""
        return not isinstance(self.target, Target) or self.target.graded


@dataclass(frozen=True)
class Result:
    """One attribution, and what it cost.

    Attributes
    ----------
    attribution : Tensor
        Shape (C, H, W), on the CPU.
    seconds : float
        Wall-clock time.
    forwards : int
        Number of inputs that went through the model (not of batches).
    """

    attribution: Tensor
    seconds: float
    forwards: int


def columns(presets: Sequence[str], baselines: Sequence[str]) -> list[str]:
    """The names of a comparison's columns: ``ad:PRESET`` for each preset, then the baselines."""
    return [f"ad:{preset}" for preset in presets] + list(baselines)


def explain(model: nn.Module, method: str, masking: Masking, task: Task) -> Result:
    """Compute one attribution with an attributor of Captum or captum_ad.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    method : str
        One of :data:`METHODS`.
    masking : str, MaskRule, float, Tensor or callable
        With ``"ad:PRESET"`` or a rule, the attributor runs on an ADForward of the model, without a baseline.
        With a baseline, it runs on the model with that baseline, or on a :class:`~captum_ad.BaselineForward`
        if Captum cannot take the baseline (a function of the mask).
    task : Task
        What to explain.

    Returns
    -------
    Result
        Reproducible on one machine. The global random state is not changed.

    Raises
    ------
    UnknownNameError
        If there is no such method, preset or baseline.
    UnsupportedOperationError
        If AD cannot follow the model.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    forward: nn.Module = masked_forward(model, masking)
    painted: dict[str, Any] = {}
    if isinstance(task.target, Target):
        forward = masked_forward(model, masking).with_target(task.target)
    elif isinstance(masking, str) and masking in BASELINES:
        forward, painted = model, {"baselines": baseline(masking, task.x)}
    elif isinstance(masking, Tensor):
        forward, painted = model, {"baselines": masking.to(task.x).expand_as(task.x)}
    elif isinstance(masking, (int, float)):
        forward, painted = model, {"baselines": masking}
    with torch.no_grad(), seeded(task.seed, task.x.device), _counted(model) as forwards:
        start = time.perf_counter()
        attribution: Tensor = METHODS[method](forward, task, painted)
        found = attribution[0].detach().cpu()
        seconds = time.perf_counter() - start
    return Result(found, seconds, sum(forwards))


def _occlusion(forward: nn.Module, task: Task, painted: Mapping[str, Any]) -> Any:
    channels, *sides = task.x.shape[1:]
    window = [min(task.window, side) for side in sides]
    return Occlusion(forward).attribute(
        task.x,
        target=task.index,
        sliding_window_shapes=(channels, *window),
        strides=(channels, *(max(1, side // 2) for side in window)),
        perturbations_per_eval=task.batch_size,
        **painted,
    )


def _over_superpixels(task: Task) -> dict[str, Any]:
    return {
        "target": task.index,
        "feature_mask": task.superpixels,
        "perturbations_per_eval": task.batch_size,
    }


def _feature_ablation(forward: nn.Module, task: Task, painted: Mapping[str, Any]) -> Any:
    return FeatureAblation(forward).attribute(task.x, **_over_superpixels(task), **painted)


def _kernel_shap(forward: nn.Module, task: Task, painted: Mapping[str, Any]) -> Any:
    return KernelShap(forward).attribute(task.x, **_over_superpixels(task), n_samples=task.samples, **painted)


def _lime(forward: nn.Module, task: Task, painted: Mapping[str, Any]) -> Any:
    # Captum's default surrogate, a Lasso with a fixed alpha, sets coefficients to zero by the scale of the
    # output: on probabilities it leaves nothing. Ridge with alpha 1 is what LIME's own image explainer fits.
    attributor = Lime(forward, interpretable_model=SkLearnRidge(alpha=1.0))
    return attributor.attribute(task.x, **_over_superpixels(task), n_samples=task.samples, **painted)


def _responsibility(forward: nn.Module, task: Task, painted: Mapping[str, Any]) -> Any:
    return CausalResponsibility(forward, task.to_confidence).attribute(
        task.x,
        target=task.index,
        max_forwards=max(MUTANTS, SEARCHED * task.samples),
        min_region=min(64, task.x[0, 0].numel() // 4),
        allow_other_target=True,
        perturbations_per_eval=task.batch_size,
        seed=task.seed,
        **painted,
    )


def _rise(forward: nn.Module, task: Task, painted: Mapping[str, Any]) -> Any:
    sides = task.x.shape[2:]
    confident = forward if task.index is None else _confident(forward, task.to_confidence)
    return Rise(confident).attribute(
        task.x,
        target=task.index,
        n_samples=SEARCHED * task.samples,
        grid=min(8, *sides),
        perturbations_per_eval=task.batch_size,
        seed=task.seed,
        **painted,
    )


def _confident(forward: nn.Module, to_confidence: ToConfidence) -> nn.Module:
    """The forward with confidences as its output, because RISE sums outputs and the zero of a logit is arbitrary."""
    function = checked_confidence(to_confidence)
    plain = forward.model if isinstance(forward, MaskedForward) else forward
    ending = nn.Sequential(plain, _Confidences(function)).eval()
    if isinstance(forward, ADForward):
        return ADForward(ending, forward.rule, tau=forward.tau)
    return BaselineForward(ending, forward.baseline) if isinstance(forward, BaselineForward) else ending


class _Confidences(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, output: Tensor) -> Tensor:
        return self.function(tensor_of(output))


METHODS: Mapping[str, Callable[[nn.Module, Task, Mapping[str, Any]], Any]] = MappingProxyType(
    {
        "occlusion": _occlusion,
        "feature_ablation": _feature_ablation,
        "kernel_shap": _kernel_shap,
        "lime": _lime,
        "responsibility": _responsibility,
        "rise": _rise,
    }
)
"""The attribution methods by name."""

OVER_SUPERPIXELS = ("feature_ablation", "kernel_shap", "lime")
"""The methods whose features are the task's superpixels; the features of the others are positions."""


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's random generators for the block, and restore their state after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _counted(model: nn.Module) -> Iterator[list[int]]:
    """A list that collects the batch size of every forward of a model while the block runs."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        sizes.append(int(inputs[0].shape[0]))

    handle = model.register_forward_pre_hook(note)
    try:
        yield sizes
    finally:
        handle.remove()
