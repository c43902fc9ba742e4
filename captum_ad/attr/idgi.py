"""IDGI (Yang, Wang and Bilgic 2023): Integrated Gradients along the direction of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from captum.attr import GradientAttribution
from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad._forwards.answers import Answering, refuse_both
from captum_ad._forwards.arguments import as_features, as_tuple
from captum_ad.attr.paths import PATHS, SEQUENTIAL, WITHOUT_BASELINE, Inputs, Path
from captum_ad.attr.runner import Asked, Baselines, judge_of, paint_of, positive, targets_of
from captum_ad.targets.base import Given, Target


class IDGI(GradientAttribution):  # type: ignore[misc]
    """Important Direction Gradient Integration.

    *IDGI: A Framework to Eliminate Explanation Noise from Integrated Gradients* (CVPR 2023, arXiv 2303.14242). Between
    two points x_j and x_{j+1} of a path, only the step's component along the gradient changes the output. A feature's
    attribution is therefore ``Σ_j g_j² (f(x_{j+1}) − f(x_j)) / Σ g_j²``, where g_j is the gradient at x_j, the
    numerator takes its square at that feature, and the denominator sums the squares over all features. Attributions add
    up to f(x) − f(baseline) for any number of steps.

    Our reading: if the gradient is zero everywhere but the output changes, all features share the change equally, so
    that the sum is preserved.

    Parameters
    ----------
    forward_func : callable
        A model, any forward function that Captum's attributors take, or an ADForward, which runs like its model.
        ``functools.partial(ad, mask=m)`` explains the output under a mask.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[3.0, 1.0]]))
    >>> IDGI(model).attribute(torch.tensor([[[1.0, 2.0]]]), target=0)  # 5 in total, shared by squared gradients, 9 to 1
    tensor([[[4.5000, 0.5000]]])
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        super().__init__(forward_func)

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines = None,
        target: Asked = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        path: str | Path = "straight",
        internal_batch_size: int = 4,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Compute attributions for a batch.

        Parameters
        ----------
        inputs : Tensor or tuple of Tensor
            Batch first.
        baselines : Tensor, int, float or tuple of these, optional
            Where the path starts; 0 if not given. Must be None with ``path="blur"``, which starts from a blur.
        target : int or Target, or one per sample, optional
            An output index, or one of :mod:`captum_ad.targets`. None if the forward has a target or a single output.
        additional_forward_args : Any
            Passed to the forward function.
        n_steps : int
            Steps of the path.
        path : {"straight", "blur", "guided"} or callable
            The path of Integrated Gradients, Blur IG or Guided IG, see :mod:`captum_ad.attr.paths`; or a function with
            the signature :data:`captum_ad.attr.paths.Path`.
        internal_batch_size : int
            Points of the path per forward. Guided and custom paths run point by point.
        return_convergence_delta : bool
            Also return the attributions' sum minus f(x) − f(start), shape (N,), which is only rounding.

        Returns
        -------
        Tensor or tuple of Tensor
            Attributions of the inputs' shape. With `return_convergence_delta`, a pair of attributions and deltas.

        Raises
        ------
        ValueError, TypeError, UnknownNameError
            If an argument is invalid, or the output is not finite.
        """
        who = "IDGI"
        if isinstance(path, str) and path not in PATHS:
            raise UnknownNameError("path", path, PATHS)
        points = PATHS[path] if isinstance(path, str) else path
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        if not given or not all(isinstance(x, Tensor) and x.dim() > 1 and len(x) == len(given[0]) for x in given):
            raise TypeError(f"{who}: expected a tensor (N, ...), or a tuple of tensors with equal batch sizes")
        if baselines is not None and path in WITHOUT_BASELINE:
            raise ValueError(f"{who} got baselines with path={path!r}, which starts from a blur: leave them out")
        positive(n_steps, "n_steps")
        chunk = 1 if path in SEQUENTIAL or callable(path) else positive(internal_batch_size, "internal_batch_size")
        features = tuple(as_features(x).detach() for x in given)
        each = baselines if isinstance(baselines, tuple) else (baselines,) * len(features)
        starts = [paint_of(one, x, who).expand_as(x) for one, x in zip(each, features, strict=True)]
        own = self.forward_func.target if isinstance(self.forward_func, Answering) else None
        refuse_both(own, target, who)
        asked = targets_of(own if target is None else target, features[0], who)
        found, deltas = [], []
        for i, one in enumerate(asked):
            x, start = (tuple(part[i : i + 1] for part in many) for many in (features, starts))
            score = _Score(self.forward_func, one, as_tuple(additional_forward_args), i, len(features[0]), x)
            values, change = _integrated(points(x, start, n_steps, score.gradient), score, chunk)
            found.append(values)
            deltas.append(sum(part.double().sum() for part in values) - change.double())
        attributions = tuple(torch.cat(parts) for parts in zip(*found))
        result = attributions if isinstance(inputs, tuple) else attributions[0]
        return (result, torch.stack(deltas)) if return_convergence_delta else result

    def has_convergence_delta(self) -> bool:
        """True: attributions add up to the change of the score."""
        return True

    @property
    def multiplies_by_inputs(self) -> bool:
        """True: attributions are in units of the output."""
        return True


class _Score:
    """The score of one sample and its gradient, at points of a path."""

    def __init__(
        self, forward: Callable[..., Any], target: int | Target, more: tuple[Any, ...], row: int, count: int, x: Inputs
    ) -> None:
        self.forward, self.more, self.row, self.count = forward, more, row, count
        self.judge = judge_of(target, None)
        if self.judge.asked.checks_whole:
            with torch.no_grad():
                self.judge.bind(self._readout(x))

    def __call__(self, points: Inputs) -> Tensor:
        """Scores, shape (points,)."""
        score: Tensor = self.judge.asked.score(self._readout(points))
        if not bool(score.isfinite().all()):
            raise ValueError("the model returned NaN or Inf on the path: use another baseline, or check the model")
        return score

    def slope(self, points: Inputs) -> tuple[Tensor, Inputs]:
        """The scores, and the gradients with respect to each input."""
        with torch.enable_grad():
            leaves = tuple(x.detach().clone().requires_grad_() for x in points)
            score = self(leaves)
            gradients = torch.autograd.grad(score.sum(), leaves, allow_unused=True) if score.requires_grad else ()
        grads = gradients or (None,) * len(leaves)
        return score.detach(), tuple(torch.zeros_like(x) if g is None else g for g, x in zip(grads, points))

    def gradient(self, point: Inputs) -> Inputs:
        """The gradients alone, for paths that follow them."""
        return self.slope(point)[1]

    def _readout(self, points: Inputs) -> Any:
        more = [self._row(one, len(points[0])) for one in self.more]
        if isinstance(self.forward, Answering):
            return self.forward.with_target(self.judge.asked).outputs(*points, *more)
        return self.judge.asked.readout(self.forward(*points, *more), Given((*points, *more)))

    def _row(self, arg: Any, count: int) -> Any:
        if isinstance(arg, Tensor) and arg.dim() > 0 and len(arg) == self.count:
            return arg[self.row : self.row + 1].expand(count, *arg.shape[1:])
        return arg


def _integrated(points: Iterator[Inputs], score: _Score, chunk: int) -> tuple[Inputs, Tensor]:
    """The attributions of one sample, and the total change of its score along the path."""
    first = latest = slope = total = shapes = None
    while batch := list(islice(points, chunk)):
        values, gradients = score.slope(tuple(torch.cat(parts) for parts in zip(*batch)))
        shapes = [g.shape[1:] for g in gradients]
        slopes = torch.cat([g.flatten(1) for g in gradients], 1)
        if latest is None or slope is None:
            first, along, behind = values[:1], values, slopes[:-1]
        else:
            along, behind = torch.cat([latest, values]), torch.cat([slope, slopes[:-1]])
        added = _shared(along[1:] - along[:-1], behind)
        total = added if total is None else total + added
        latest, slope = values[-1:], slopes[-1:]
    if total is None or shapes is None or first is None or latest is None:
        raise ValueError("the path has no points: a path function must yield points from the start to the input")
    parts = total.split([shape.numel() for shape in shapes])
    return tuple(part.reshape(1, *shape) for part, shape in zip(parts, shapes)), (latest - first)[0]


def _shared(change: Tensor, slopes: Tensor) -> Tensor:
    """Distribute changes of the score, shape (steps,), over features by squared slopes, shape (steps, features)."""
    # scale first, because squares may underflow
    slopes = slopes / slopes.abs().amax(1, keepdim=True).clamp(min=torch.finfo(slopes.dtype).tiny)
    squares = slopes**2
    squares = squares.masked_fill(squares.sum(1, keepdim=True) == 0, 1)
    return (squares * (change[:, None] / squares.sum(1, keepdim=True))).sum(0)
