"""Shapley values of the five parts: under true removal, under maskings, and estimated by Captum's attributors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import KernelShap, Lime, ShapleyValues
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import MaskedForward, Masking, masked_forward
from captum_ad._methods import Task, explain, seeded
from captum_ad._scoring import in_eval_mode
from captum_ad.benchmarks.scenes.drawing import Scene, draw, normalized
from captum_ad.benchmarks.scenes.estimates import Estimate, PerScene, estimate, mean_of, rank_correlations, relative
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.benchmarks.scenes.masks import hidden_pixels, named_maskings

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTORS = ("exact", "shapley_values", "kernel_shap", "lime", "occlusion")
"""Ways to attribute the class's logit to the parts: exact Shapley values, and attributors of Captum."""

SHAPLEY = ("exact", "shapley_values", "kernel_shap")
"""Those that estimate Shapley values, so that their error can be measured."""

_WINDOW = 8


class PresenceForward(nn.Module):
    """A masked forward as a function of which parts are present, so that any attributor can perturb the parts.

    Parameters
    ----------
    forward : ADForward or BaselineForward
        The masked forward.
    x : Tensor
        The normalized scene, shape (1, 3, 64, 64).
    hidden : Tensor
        The pixels to hide for each part that is missing, bool, shape (5, 64, 64).
    """

    def __init__(self, forward: MaskedForward, x: Tensor, hidden: Tensor) -> None:
        super().__init__()
        self._run = forward.__call__  # not a submodule: with an ADForward inside, attributors would want to mask
        self.x = x
        self.hidden = hidden
        self._outputs: dict[int, Tensor] = {}  # there are only 32 inputs: run each once
        self.eval()

    def forward(self, presence: Tensor) -> Tensor:
        """The output with the parts that are present.

        Parameters
        ----------
        presence : Tensor
            1 = present, 0 = missing, shape (N, 5).

        Returns
        -------
        Tensor
            Shape (N, classes).

        Raises
        ------
        ValueError
            If a presence is neither 0 nor 1.
        """
        if not bool(((presence == 0) | (presence == 1)).all()):
            raise ValueError(f"expected 1 (present) or 0 (missing) for each part, got {presence.unique().tolist()}")
        codes = _codes(presence != 0)
        new = [code for code in dict.fromkeys(codes) if code not in self._outputs]
        if new:
            missing = ~subsets()[new]
            kept = ~(missing[:, :, None, None] & self.hidden).any(1)
            with torch.no_grad():
                self._outputs |= dict(zip(new, self._run(self.x.expand(len(new), -1, -1, -1), mask=kept)))
        return torch.stack([self._outputs[code] for code in codes])


@cache
def subsets() -> Tensor:
    """All subsets of the parts, bool, shape (32, 5); row i has the parts whose bit is set in i."""
    return (torch.arange(2 ** len(PARTS))[:, None] >> torch.arange(len(PARTS))) % 2 == 1


def exact_shapley(values: Tensor) -> Tensor:
    """Shapley values of a game of five players, from the values of all coalitions.

    Parameters
    ----------
    values : Tensor
        The value of each of the :func:`subsets`, shape (..., 32).

    Returns
    -------
    Tensor
        float64, shape (..., 5); they add up to the value of all minus that of none.

    Examples
    --------
    >>> exact_shapley(subsets().double() @ torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64))
    tensor([1.0000, 2.0000, 3.0000, 4.0000, 5.0000], dtype=torch.float64)
    """
    there = subsets()
    sizes, n = there.sum(1), len(PARTS)
    joins = torch.tensor([1 / (n * math.comb(n - 1, max(0, k - 1))) for k in range(n + 1)], dtype=torch.float64)
    leaves = torch.tensor([1 / (n * math.comb(n - 1, min(k, n - 1))) for k in range(n + 1)], dtype=torch.float64)
    weights = torch.where(there, joins[sizes][:, None], -leaves[sizes][:, None])
    return values.double() @ weights


@dataclass(frozen=True)
class ShapleyTruth:
    """Attributions of the class's logit to the parts.

    Attributes
    ----------
    true : Tensor
        Exact Shapley values from drawings without parts, float64, shape (scenes, 5).
    found : mapping of (str, str) to Tensor
        The attributions of each (attributor, masking), same shape as `true`.
    """

    true: Tensor
    found: Mapping[tuple[str, str], Tensor]

    def per_scene(self, measure: str, attributor: str, masking: str) -> PerScene:
        """The contribution of each scene to a measure.

        Parameters
        ----------
        measure : {"correlation", "error"}
            ``"correlation"``: Spearman's correlation with the truth, mean over scenes. ``"error"``:
            ‖found − true‖ / ‖true‖ over all scenes, only for the attributors in :data:`SHAPLEY`.
        attributor, masking : str
            One of those that were measured.

        Raises
        ------
        UnknownNameError
            If there is no such measure, or it was not measured.
        """
        known = ("correlation", "error") if attributor in SHAPLEY else ("correlation",)
        if measure not in known:
            raise UnknownNameError(f"measure of {attributor}", measure, known)
        if (attributor, masking) not in self.found:
            raise UnknownNameError("pair", f"{attributor} {masking}", [" ".join(pair) for pair in self.found])
        found, true = self.found[attributor, masking].double().numpy(), self.true.numpy()
        return mean_of(rank_correlations(found, true)) if measure == "correlation" else relative(found - true, true)

    def estimate(
        self, measure: str, attributor: str, masking: str, *, minus: str | None = None, seed: int = 0
    ) -> Estimate:
        """A measure with its bootstrap interval; with `minus`, its paired difference from that masking's measure."""
        other = None if minus is None else self.per_scene(measure, attributor, minus)
        return estimate(self.per_scene(measure, attributor, masking), other, seed=seed)

    def table(self, *, seed: int = 0) -> pd.DataFrame:
        """All measures: columns measure, attributor, masking, value, low, high and n, the number of scenes."""
        pandas = needed("pandas", "pandas", "metrics")
        rows = []
        for attributor, masking in self.found:
            for measure in ("correlation", "error") if attributor in SHAPLEY else ("correlation",):
                estimated = vars(self.estimate(measure, attributor, masking, seed=seed))
                row = {"measure": measure, "attributor": attributor, "masking": masking}
                rows.append({**row, **estimated, "n": len(self.true)})
        return cast("pd.DataFrame", pandas.DataFrame(rows))


def shapley_truth(
    model: nn.Module,
    scenes: Sequence[Scene],
    maskings: Sequence[Masking] | Mapping[str, Masking],
    attributors: Sequence[str] = ATTRIBUTORS,
    *,
    shape: str = "exact",
    grow: int = 2,
    n_samples: int = 64,
    seed: int = 0,
    show_progress: bool = False,
) -> ShapleyTruth:
    """Compare attributions to the parts with their true Shapley values.

    Parameters
    ----------
    model : nn.Module
        A plain network in eval mode, see :func:`~captum_ad.benchmarks.scenes.truth.removal_truth`.
    scenes : sequence of Scene
        Scenes with all their parts.
    maskings, shape, grow
        See :func:`~captum_ad.benchmarks.scenes.truth.removal_truth`.
    attributors : sequence of str
        Names in :data:`ATTRIBUTORS`. Captum's perturb the parts (a missing part is 0), except Occlusion, which runs
        on the image with windows of 8 pixels and is summed over the pixels where each part is visible. Lime fits a
        ridge regression with alpha 1, like LIME's own image explainer.
    n_samples : int
        Number of perturbations of KernelShap and Lime.
    seed : int
        Seed of the perturbations.
    show_progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    ShapleyTruth
        The attributions.

    Raises
    ------
    UnknownNameError, ValueError
        If there is no such attributor, masking or shape, or a list is empty.
    """
    in_eval_mode(model)
    if len(scenes) == 0:
        raise ValueError("scenes is empty: give at least one, e.g. from right_scenes")
    for attributor in attributors:
        if attributor not in ATTRIBUTORS:
            raise UnknownNameError("attributor", attributor, ATTRIBUTORS)
    named = named_maskings(maskings)
    forwards = {name: masked_forward(model, masking) for name, masking in named.items()}
    true: list[Tensor] = []
    found: dict[tuple[str, str], list[Tensor]] = {(a, name): [] for a in attributors for name in named}
    for one in tqdm(scenes, desc="Shapley values", unit="scene", disable=not show_progress):
        drawings = normalized(draw(one, subsets()))
        with torch.inference_mode():
            true.append(exact_shapley(model(drawings)[:, one.label]))
        x, hidden = drawings[-1:], hidden_pixels(one, shape, grow=grow)
        shown = hidden_pixels(one)
        for name, masking in named.items():
            presence = PresenceForward(forwards[name], x, hidden)
            for attributor in attributors:
                if attributor == "occlusion":
                    values = _occlusion(model, masking, x, one.label, shown, seed)
                else:
                    with seeded(seed, x.device):
                        values = _OVER_PARTS[attributor](presence, one.label, n_samples)
                found[attributor, name].append(values)
    return ShapleyTruth(torch.stack(true), {pair: torch.stack(values) for pair, values in found.items()})


def _exact(presence: PresenceForward, label: int, n_samples: int) -> Tensor:
    return exact_shapley(presence(subsets().float())[:, label])


def _captum(make: Callable[[nn.Module], Any], **options: Any) -> Callable[[PresenceForward, int, int], Tensor]:
    """An attributor of Captum over the parts; it draws `n_samples` perturbations unless `options` are given."""

    def attributed(presence: PresenceForward, label: int, n_samples: int) -> Tensor:
        more = options or {"n_samples": n_samples}
        values: Tensor = make(presence).attribute(
            torch.ones(1, len(PARTS)), baselines=0, target=label, **{"perturbations_per_eval": 32, **more}
        )
        return values[0].detach().double()

    return attributed


_OVER_PARTS: Mapping[str, Callable[[PresenceForward, int, int], Tensor]] = MappingProxyType(
    {
        "exact": _exact,
        "shapley_values": _captum(ShapleyValues, perturbations_per_eval=32),
        "kernel_shap": _captum(KernelShap),
        "lime": _captum(lambda presence: Lime(presence, interpretable_model=SkLearnRidge(alpha=1.0))),
    }
)


def _occlusion(model: nn.Module, masking: Masking, x: Tensor, label: int, shown: Tensor, seed: int) -> Tensor:
    task = Task(x, label, torch.zeros(1, 1, *x.shape[2:], dtype=torch.int64), 1, 32, seed, window=_WINDOW)
    attribution = explain(model, "occlusion", masking, task).attribution.double().mean(0)
    return (shown * attribution).sum((1, 2))


def _codes(there: Tensor) -> list[int]:
    codes: list[int] = (there.long() << torch.arange(len(PARTS))).sum(1).tolist()
    return codes
