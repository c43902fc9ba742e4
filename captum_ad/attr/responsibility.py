"""Causal responsibility (Chockler, Kelly, Kroening and Sun 2024), the explainer of the AD paper, as an attributor."""

from __future__ import annotations

import heapq
import itertools
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from captum_ad.attr.regions import Path, RegionTree, Units, units_of
from captum_ad.attr.runner import Baselines, MaskRunner, Target, positive, targets_of
from captum_ad.scoring import Activation, Judge

Bools = npt.NDArray[np.bool_]
State = tuple[Path, ...]
"""Regions that stay; everything else is off."""


class CausalResponsibility(PerturbationAttribution):  # type: ignore[misc]
    """Approximate degree of causal responsibility of each position (arXiv 2411.08875; arXiv 2510.01038, Appendix B).

    One iteration starts from the whole input and repeats: take the smallest set of regions known to
    pass, cut its largest region at a random place into four parts, and try every combination of the
    parts with the rest of the set left as it is and all else off. A combination *passes* if the network
    still gives the target class. It is *minimal* if it passes and no part of it alone does (the
    minimality of an actual cause): each part in it has responsibility 1/k, k being the number of parts
    of the smallest minimal combination that it belongs to; parts in none have 0. Minimal combinations
    are searched further. Responsibilities of nested regions add up on the positions that they cover, so
    that finer evidence adds to coarser; iterations are averaged.

    What the source leaves open is decided thus: the smallest set first, the first found of equal ones; a
    region is cut at the same place whenever it comes up in an iteration, and what it gets in several sets
    counts once, by its maximum; if the rest of a set passes without the region altogether, none of
    its parts is responsible and the rest is searched further.

    Parameters
    ----------
    forward_func : callable
        An ADForward, or any forward function together with ``baselines``; it returns (N, classes).
    activation : str or callable
        From outputs to confidences, as for :func:`captum_ad.metrics.sufficient_explanation`.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    >>> _ = torch.nn.init.zeros_(model[1].weight), torch.nn.init.constant_(model[1].bias, 0.5)
    >>> _ = model[1].weight.data[1, 0] = 1.0  # class 1 if the first of 8 × 8 pixels is bright
    >>> x = torch.ones(1, 1, 8, 8)
    >>> found = CausalResponsibility(model).attribute(x, target=1, min_region=1, max_forwards=2000)
    >>> int(found.flatten().argmax())
    0
    """

    def __init__(self, forward_func: Callable[..., Any], activation: Activation = "softmax") -> None:
        super().__init__(forward_func)
        self.activation = activation

    @torch.no_grad()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Tensor | None = None,
        superpixels: Tensor | None = None,
        n_iterations: int = 20,
        min_region: int = 64,
        max_forwards: int = 1000,
        gamma: float = 0.0,
        allow_other_target: bool = False,
        perturbations_per_eval: int = 1,
        seed: int = 0,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Responsibilities of a batch.

        Parameters
        ----------
        inputs : Tensor or tuple of one Tensor
            Shape (N, C, *spatial).
        baselines : Tensor, int, float or tuple of one, optional
            What features that are off are painted with; 0 if not given. None with an ADForward.
        target : int, or one int per sample
            The class. For several classes of one input repeat the input.
        additional_forward_args : Any
            Passed to the forward function.
        feature_mask : Tensor, optional
            Integer labels, shape (*spatial): groups are the finest units, never cut.
        superpixels : Tensor, optional
            Integer labels, shape (*spatial): regions stay unions of these until a region is one, which
            is then cut into positions (or groups).
        n_iterations : int
            Random starts.
        min_region : int
            Regions of at most that many positions are not cut.
        max_forwards : int
            Budget of masked inputs per sample, shared equally by the iterations.
        gamma : float
            A combination also has to keep that share of the original confidence, 0 to 1.
        allow_other_target : bool
            Accept a target that the network does not give to the whole input.
        perturbations_per_eval : int
            Masks per forward; those of all iterations fill a batch together.
        seed : int
            The same seed gives the same map, whatever `perturbations_per_eval`.
        show_progress : bool
            Show a progress bar, in masked inputs.

        Returns
        -------
        Tensor or tuple of one Tensor
            Shape of the input, the same in every channel, at least 0.

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit, the network does not give the target to the whole input, or the
            budget does not pay for one partition in each iteration.

        Warns
        -----
        UserWarning
            If no combination of the first partitions passes, or the network gives the target to nothing:
            the map is zero then.
        """
        who = "CausalResponsibility"
        runner = MaskRunner(self.forward_func, inputs, baselines, additional_forward_args, who)
        x, spatial = runner.x, tuple(runner.x.shape[2:])
        batch = positive(perturbations_per_eval, "perturbations_per_eval")
        iterations, smallest = positive(n_iterations, "n_iterations"), positive(min_region, "min_region")
        budget = positive(max_forwards, "max_forwards") // iterations
        if budget < MUTANTS:
            raise ValueError(
                f"max_forwards={max_forwards} leaves {budget} for each of {iterations} iterations, and one partition "
                f"needs {MUTANTS}: raise it to {MUTANTS * iterations}, or take fewer iterations"
            )
        if math.prod(spatial) <= smallest:
            raise ValueError(f"the input has {math.prod(spatial)} positions, no more than min_region={min_region}")
        if isinstance(gamma, bool) or not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be a number from 0 to 1, got {gamma!r}")
        units = units_of(spatial, feature_mask, superpixels)
        maps = []
        for sample, one in enumerate(targets_of(target, x, who)):
            test = _Test(runner, sample, Judge(one, self.activation), gamma, batch)
            if not test.whole_passes and not allow_other_target:
                raise ValueError(
                    f"class {one} is not the network's answer for sample {sample}, so nothing in it can be responsible "
                    "for that: explain the predicted class, or pass allow_other_target=True"
                )
            with tqdm(total=budget * iterations, desc=who, disable=not show_progress) as bar:
                maps.append(_map(test, units, iterations, smallest, budget, seed, bar))
        found = torch.from_numpy(np.stack(maps)).to(x).reshape(len(x), 1, *spatial).expand_as(x).contiguous()
        return (found,) if isinstance(inputs, tuple) else found


MUTANTS = 15
"""Combinations of four parts, but for all of them: those are the set that is known to pass."""


class _Test:
    """Whether one sample under masks still gets its class."""

    def __init__(self, runner: MaskRunner, sample: int, judge: Judge, gamma: float, batch: int) -> None:
        self.runner, self.sample, self.judge, self.gamma, self.batch = runner, sample, judge, gamma, batch
        spatial = runner.x.shape[2:]
        whole, nothing = (
            fill(1, *spatial, dtype=torch.bool, device=runner.x.device) for fill in (torch.ones, torch.zeros)
        )
        confidence, kept = judge(runner(sample, whole))
        self.least = gamma * confidence[0]
        self.whole_passes = bool(kept[0])
        self.nothing_passes = bool(self._passes(nothing)[0])

    def __call__(self, masks: list[Bools]) -> list[bool]:
        """One answer per mask, shape (positions) each; in full batches."""
        answers: list[Tensor] = []
        for start in range(0, len(masks), self.batch):
            some = torch.from_numpy(np.stack(masks[start : start + self.batch])).to(self.runner.x.device)
            answers.append(self._passes(some.reshape(-1, *self.runner.x.shape[2:])))
        return torch.cat(answers).tolist() if answers else []

    def _passes(self, masks: Tensor) -> Tensor:
        confidence, kept = self.judge(self.runner(self.sample, masks))
        return kept & (confidence >= self.least)


def _map(
    test: _Test, units: Units, iterations: int, min_region: int, budget: int, seed: int, bar: Any
) -> npt.NDArray[np.float64]:
    """The mean of the iterations' maps: all searches take a step, then their mutants run together."""
    zeros = np.zeros(len(units.labels))
    if test.nothing_passes:
        warnings.warn(
            f"the network gives class {test.judge.target} to nothing at all: no part is responsible", stacklevel=4
        )
        return zeros
    searches = [_Search(RegionTree(units, min_region, (seed, i)), budget, test.whole_passes) for i in range(iterations)]
    active = searches
    while active := [search for search in active if search.choose()]:
        mutants = [search.mutants() for search in active]
        answers = iter(test(list(itertools.chain(*mutants))))
        for search, ours in zip(active, mutants):
            search.learn([next(answers) for _ in ours])
        bar.update(sum(map(len, mutants)))
    total = sum((search.responsibility() for search in searches), zeros)
    if not total.any():
        warnings.warn(
            f"no combination of parts gets class {test.judge.target} in {iterations} iterations: the map is zero",
            stacklevel=4,
        )
    mean: npt.NDArray[np.float64] = total / iterations
    return mean


class _Search:
    """One iteration: a queue of passing sets, smallest first, and the responsibility of each region."""

    def __init__(self, tree: RegionTree, budget: int, whole_passes: bool) -> None:
        self.tree, self.budget = tree, budget
        self.known: dict[frozenset[Path], bool] = {frozenset(): False, frozenset([()]): whole_passes}
        self.responsible: dict[Path, float] = {}
        self.order = itertools.count()
        self.queue: list[tuple[int, int, State]] = []
        self._push(((),))

    def choose(self) -> bool:
        """Take the next set and the region of it to cut; False when nothing is left to do."""
        while self.queue:
            self.state = heapq.heappop(self.queue)[2]
            cuttable = [region for region in self.state if self.tree.parts(region)]
            if cuttable:
                self.region = max(cuttable, key=self.tree.area)
                self.rest = tuple(region for region in self.state if region != self.region)
                self.parts = self.tree.parts(self.region)
                self.combinations = [
                    combination
                    for size in range(len(self.parts))
                    for combination in itertools.combinations(self.parts, size)
                ]
                self.unknown = [c for c in self.combinations if self._key(c) not in self.known]
                return len(self.unknown) <= self.budget
        return False

    def mutants(self) -> list[Bools]:
        """The masks whose answers are not known yet."""
        return [self._mask((*self.rest, *combination)) for combination in self.unknown]

    def learn(self, answers: Iterable[bool]) -> None:
        """Take the answers: responsibilities of the parts, and the sets to search further."""
        self.budget -= len(self.unknown)
        self.known.update(zip(map(self._key, self.unknown), answers))
        passing = [combination for combination in self.combinations if self.known[self._key(combination)]]
        if self.known.get(frozenset(self.state), True):
            passing.append(self.parts)  # the set itself
        minimal = [c for c in passing if not any(set(other) < set(c) for other in passing)]
        for part in self.parts:
            sizes = [len(combination) for combination in minimal if part in combination]
            found = 1 / min(sizes) if sizes else 0.0
            self.responsible[part] = max(found, self.responsible.get(part, 0.0))
        for combination in minimal:
            self._push((*self.rest, *combination))

    def responsibility(self) -> npt.NDArray[np.float64]:
        """The map, shape (positions)."""
        total = np.zeros(len(self.tree.units.labels))
        for region, value in self.responsible.items():
            if value:
                total += value * self.tree.positions(region)
        return total

    def _push(self, state: State) -> None:
        if state:
            heapq.heappush(self.queue, (sum(map(self.tree.area, state)), next(self.order), state))

    def _key(self, combination: State) -> frozenset[Path]:
        return frozenset((*self.rest, *combination))

    def _mask(self, regions: State) -> Bools:
        inside = np.zeros(len(self.tree.units.sizes), bool)
        for region in regions:
            inside[self.tree.members[region]] = True
        kept: Bools = inside[self.tree.units.labels]
        return kept
