"""Causal responsibility (Chockler, Kelly, Kroening and Sun 2024), the explainer of the AD paper, as an attributor."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from captum_ad._scoring import Judge, ToConfidence
from captum_ad.attr.regions import RegionTree, Units, spread, units_of
from captum_ad.attr.runner import Asked, Baselines, MaskRunner, masks_per_forward, positive
from captum_ad.attr.search import Bools, Search

Labels = Tensor | tuple[Tensor | None, ...] | None


class CausalResponsibility(PerturbationAttribution):  # type: ignore[misc]
    """Approximate degree of causal responsibility of each position (arXiv 2411.08875; arXiv 2510.01038, Appendix B).

    One iteration starts from the whole input and repeats: take the smallest set of regions known to
    pass, cut its largest region at a random place into four parts, and try combinations of these
    parts, keeping the rest of the set and hiding everything else. A combination *passes* if the network
    still predicts the target class. It is *minimal* if it passes and no proper subset of it does (the
    minimality of an actual cause). A part has responsibility 1/k, where k is the number of parts in
    the smallest minimal combination that contains it, or 0 if there is none. Minimal combinations
    are searched further. Responsibilities of nested regions add up on the positions that they cover, so
    finer evidence adds to coarser evidence. Iterations are averaged.

    Where the source leaves choices open, we decided as follows. The first cuts of the iterations are random but
    evenly spread. The smallest set is searched first; among equal ones, the one found first. A region is cut at the
    same place whenever it comes up in an iteration; if it gets a responsibility in several sets, the maximum counts. If
    the rest of a set passes without the region, none of the region's parts is responsible, and the rest is searched
    further. Combinations are tried by size, and those that contain a minimal one are skipped, which saves forwards and
    does not change the result.

    Parameters
    ----------
    forward_func : callable
        An ADForward, or any forward function together with ``baselines``. It returns shape (N, classes).
    to_confidence : str or callable
        How to turn outputs into confidences, as for :func:`captum_ad.metrics.sufficient_explanation`.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    >>> _ = torch.nn.init.zeros_(model[1].weight), torch.nn.init.constant_(model[1].bias, 0.5)
    >>> _ = model[1].weight.data[1, 0] = 1.0  # predicts class 1 if the first of 8 × 8 pixels is bright
    >>> x = torch.ones(1, 1, 8, 8)
    >>> found = CausalResponsibility(model).attribute(x, target=1, min_region=1, max_forwards=2000)
    >>> int(found.flatten().argmax())
    0
    """

    def __init__(self, forward_func: Callable[..., Any], to_confidence: ToConfidence = "softmax") -> None:
        super().__init__(forward_func)
        self.to_confidence = to_confidence

    @torch.no_grad()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines = None,
        target: Asked = None,
        additional_forward_args: Any = None,
        feature_mask: Labels = None,
        superpixels: Labels = None,
        n_iterations: int = 20,
        min_region: int | None = None,
        max_forwards: int = 200,
        gamma: float = 0.0,
        allow_other_target: bool = False,
        perturbations_per_eval: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Compute responsibilities for a batch.

        Parameters
        ----------
        inputs : Tensor or tuple of Tensor
            Shape (N, C, *spatial), or (N, T), where each value is a position. Several inputs are searched one after
            the other, while the others stay whole.
        baselines : Tensor, int, float or tuple of these, optional
            The baseline for hidden features; 0 if not given. Must be None with an ADForward.
        target : int or Target, or one per sample, optional
            The class index, or one of :mod:`captum_ad.targets`; None if the forward has a target. To explain
            several classes of one input, repeat the input.
        additional_forward_args : Any
            Passed to the forward function.
        feature_mask : Tensor or tuple of (Tensor or None), optional
            Integer labels, shape (*spatial). Groups of positions with one label are never cut. A tuple for several
            inputs.
        superpixels : Tensor or tuple of (Tensor or None), optional
            Integer labels, shape (*spatial). Regions are unions of superpixels until a region is a single one, which
            is then cut into positions (or groups). A tuple for several inputs.
        n_iterations : int
            Number of random starts, if the budget allows.
        min_region : int, optional
            Regions of at most this many positions are not cut. Default: 64, or a 16th of a small input.
        max_forwards : int
            Budget of masked inputs, per sample and input. All iterations make their first partition, then all
            make their second, and so on.
        gamma : float
            A combination also has to keep this fraction of the original confidence, 0 to 1.
        allow_other_target : bool
            Accept a target that the network does not predict for the whole input.
        perturbations_per_eval : int, optional
            Masks per forward. Default: at most 8, fewer for large inputs. A batch may mix masks of several iterations.
        seed : int
            Random seed. The map does not depend on `perturbations_per_eval`.
        show_progress : bool
            Show a progress bar that counts masked inputs.

        Returns
        -------
        Tensor or tuple of Tensor
            Shape of the inputs, nonnegative, equal in every channel.

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid, the network does not predict the target for the whole input, or the
            budget is too small for one partition.

        Warns
        -----
        UserWarning
            If no combination of the first partitions passes, or the network predicts the target even if
            everything is hidden. The map is then zero.
        """
        who = "CausalResponsibility"
        runner = MaskRunner(
            self.forward_func, inputs, baselines, additional_forward_args, target, self.to_confidence, who
        )
        batch = masks_per_forward(perturbations_per_eval, runner.inputs)
        iterations, budget = positive(n_iterations, "n_iterations"), positive(max_forwards, "max_forwards")
        if budget < MUTANTS:
            raise ValueError(f"max_forwards={max_forwards} is too small for one partition: use at least {MUTANTS}")
        if isinstance(gamma, bool) or not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be a number from 0 to 1, got {gamma!r}")
        smallest = [_smallest(math.prod(spatial), min_region) for spatial in runner.spatial]
        groups, coarse = (_for_each(given, len(runner.inputs), who) for given in (feature_mask, superpixels))
        units = [units_of(*each) for each in zip(runner.spatial, groups, coarse)]
        maps = []
        for place, spatial in enumerate(runner.spatial):
            of_input = []
            for sample, judge in enumerate(runner.judges):
                test = _Test(runner, place, sample, judge, gamma, batch)
                if not judge.asked.decides:
                    raise ValueError(
                        f"{judge.asked} does not define when the answer is kept, which responsibility needs: set "
                        "target= to a class, or to one of captum_ad.targets with a threshold or a tolerance"
                    )
                if not test.whole_passes and not allow_other_target:
                    raise ValueError(
                        f"{judge.asked} is not the network's answer for sample {sample}, so nothing in the sample can "
                        f"be responsible for it: {judge.asked.instead}, or pass allow_other_target=True"
                    )
                with tqdm(total=budget, desc=who, disable=not show_progress) as bar:
                    of_input.append(_map(test, units[place], iterations, smallest[place], budget, seed, bar))
            maps.append(torch.from_numpy(np.stack(of_input)).reshape(len(of_input), *spatial))
        return runner.shown(maps, inputs)


def _smallest(positions: int, given: int | None) -> int:
    if given is None:
        return min(64, max(1, positions // 16))
    smallest = positive(given, "min_region")
    if positions <= smallest:
        raise ValueError(f"min_region={given} must be smaller than the number of positions, {positions}")
    return smallest


def _for_each(labels: Labels, count: int, who: str) -> tuple[Tensor | None, ...]:
    """One entry of labels per input, from a single tensor or a tuple."""
    each = labels if isinstance(labels, tuple) else (labels,) * (count if labels is None else 1)
    if len(each) != count:
        raise ValueError(
            f"{who} got labels for {len(each)} of {count} inputs: give a tuple, with None for inputs without labels"
        )
    return each


MUTANTS = 15
"""Most forwards of one partition: all combinations of four parts but the full one, which is known to pass."""


class _Test:
    """Whether the network still gives the answer for one sample if one of its inputs is masked."""

    def __init__(self, runner: MaskRunner, place: int, sample: int, judge: Judge, gamma: float, batch: int) -> None:
        self.runner, self.place, self.sample = runner, place, sample
        self.judge, self.gamma, self.batch, self.whole = judge, gamma, batch, runner.filled(True)
        confidence, kept = judge(runner(sample, self.whole))
        self.least = gamma * confidence[0]
        self.whole_passes = bool(kept[0])
        self.nothing_passes = bool(self._passes(runner.filled(False)[place])[0])

    def __call__(self, masks: list[Bools]) -> list[bool]:
        """One answer per mask, shape (positions) each, computed in batches."""
        answers: list[Tensor] = []
        for start in range(0, len(masks), self.batch):
            some = torch.from_numpy(np.stack(masks[start : start + self.batch])).to(self.runner.inputs[0].device)
            answers.append(self._passes(some.reshape(-1, *self.runner.spatial[self.place])))
        return torch.cat(answers).tolist() if answers else []

    def _passes(self, masks: Tensor) -> Tensor:
        every = [
            masks if i == self.place else one.expand(len(masks), *one.shape[1:]) for i, one in enumerate(self.whole)
        ]
        confidence, kept = self.judge(self.runner(self.sample, every))
        return kept & (confidence >= self.least) if self.judge.asked.graded else kept


def _map(
    test: _Test, units: Units, iterations: int, min_region: int, budget: int, seed: int, bar: Any
) -> npt.NDArray[np.float64]:
    """The mean of the iterations' maps."""
    if test.nothing_passes:
        warnings.warn(
            f"the network predicts {test.judge.asked} even if everything is hidden, so no part is responsible: "
            "the map is zero",
            stacklevel=4,
        )
        return np.zeros(len(units.labels))
    trees = [RegionTree(units, min_region, (seed, i), first) for i, first in enumerate(spread(iterations, seed))]
    searches = [Search(tree, test.whole_passes) for tree in trees]
    _run(test, searches, budget, bar)
    begun = [search for search in searches if search.responsible] or searches
    mean: npt.NDArray[np.float64] = np.mean([search.responsibility() for search in begun], 0)
    if not mean.any():
        warnings.warn(
            f"no combination of parts keeps {test.judge.asked} in {len(begun)} iterations: the map is zero",
            stacklevel=4,
        )
    return mean


def _run(test: _Test, searches: list[Search], budget: int, bar: Any) -> None:
    """Run one partition of each search in turn while the budget surely covers it, batching their masks together."""
    waiting, running = deque(search for search in searches if search.choose()), list[Search]()
    while True:
        while waiting and sum(search.most() for search in (*running, waiting[0])) <= budget:
            running.append(waiting.popleft())
        if not running:
            return
        masks = [search.masks() for search in running]
        answers = iter(test(list(itertools.chain(*masks))))
        for search, ours in zip(running, masks):
            search.learn([next(answers) for _ in ours])
        asked = sum(map(len, masks))
        budget -= asked
        bar.update(asked)
        decided, running = [s for s in running if not s.unknown], [s for s in running if s.unknown]
        for search in decided:
            search.conclude()
        waiting.extend(search for search in decided if search.choose())
