"""Check whether Activation-Deactivation works on a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._forwards.ad_forward import ADForward
from captum_ad.targets.base import Target
from captum_ad.testing import checks
from captum_ad.testing.report import Check, Report
from captum_ad.testing.state import unchanged
from captum_ad.testing.watch import Broken
from captum_ad.trace.records import rule_name

_CELLS = 4  # cells of a random mask in each dimension


def check_model(
    model: nn.Module | ADForward,
    inputs: Tensor | tuple[Any, ...],
    *,
    masks: int = 3,
    seed: int = 0,
    verbose: bool = True,
) -> Report:
    """Check with random masks that Activation-Deactivation works on a network, and name the module at fault if not.

    - *eval mode*: no module is in train mode.
    - *repeatable*: the plain model returns the same output twice, bit for bit.
    - *every operation has a rule*: masks propagate through all operations, even if nothing is kept.
    - *Theorem 1*: with nothing masked, the output equals the plain model's, bit for bit. A whole sample next to a
      masked one has the same output as without masks (attention may round differently there).
    - *missing means missing*: noise, 1e30, Inf or NaN at masked positions of the input, and at deactivated positions
      of every layer, do not change any bit of the output.
    - *monotone masks*: a larger mask of the input makes no layer's mask smaller anywhere.
    - *no lost masks*: with nothing kept, no map becomes active again; and the output depends on the mask.
    - *batches do not mix*: a sample has the same output in a batch as alone, up to rounding.

    If one of the first three fails, the others are meaningless and are skipped. Rounding is a
    difference of at most 1e-4 of the largest output (float64: 1e-9, half precision: 2e-2).

    Parameters
    ----------
    model : nn.Module or ADForward
        The network. The state of its modules is restored afterwards. A module is checked with ADForward's default
        rule; for another rule or τ, or to select a part of the output, pass an :class:`~captum_ad.ADForward`. If the
        output is not a tensor, the forward needs a target, e.g. Detection for a detector.
    inputs : Tensor or tuple
        A batch of inputs, preferably real ones: floating point, shape (N, C, *spatial) or (N, T), without NaN and
        Inf. For a tuple of all arguments, each input with three or more dimensions is masked in turn; the others are
        those of the first sample.
    masks : int
        Number of random masks of patches, each larger than the one before. An empty mask is checked in addition.
    seed : int
        Random seed of the masks and of the noise.
    verbose : bool
        Whether to print the report.

    Returns
    -------
    Report
        It is truthy if all checks passed, so ``assert check_model(model, x)`` is a test. ``str(report)`` is a table;
        ``report["Theorem 1"]`` is one check, with its details and the module at fault.

    Raises
    ------
    ValueError
        If `inputs` or `masks` is invalid, or the output does not have one row per sample.
    TypeError
        As in ADForward: if `model` is not a module, or does not return a tensor.

    Notes
    -----
    Only you know which mask is right after your own operation, so it is not checked that a rule keeps the *right*
    positions. Gradients are not checked, nor inputs for which the model behaves differently than for these.

    Examples
    --------
    >>> import torch
    >>> from captum_ad.testing import check_model
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    >>> bool(check_model(model, torch.rand(2, 3, 8, 8), verbose=False))
    True
    >>> class Renormed(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.renorm(2, 1, 1.0)
    >>> model.insert(1, Renormed().eval())
    Sequential(...)
    >>> report = check_model(model, torch.rand(2, 3, 8, 8))
    Sequential, no-growth-mean, 3 masks, seed 0: NOT all checks passed
      ✓ eval mode                   every module
      ✓ repeatable                  the model gives the same bits twice
      ✗ every operation has a rule  operation torch.Tensor.renorm, called in module '1' (Renormed), has no ...
      – Theorem 1                   not checked
      – missing means missing       not checked
      – monotone masks              not checked
      – no lost masks               not checked
      – batches do not mix          not checked
    >>> report["every operation has a rule"].module
    '1'
    """
    ad = model if isinstance(model, ADForward) else ADForward(model)
    if ad.target is not None and type(ad.target).readout is Target.readout:
        ad = ad.with_target(None)  # checking the whole output is stricter than checking its score
    if isinstance(inputs, tuple):
        return _each_input(ad, inputs, masks, seed, verbose)
    inputs = _batch(inputs)
    if isinstance(masks, bool) or not isinstance(masks, int) or masks < 1:
        raise ValueError(f"masks must be a positive number of masks, got {masks!r}")
    with unchanged(ad.model, inputs.device), torch.no_grad():
        found = tuple(_checks(ad, inputs, growing_masks(inputs, masks, seed), seed))
    setting = f"{rule_name(ad.rule, ad.tau)}, {masks} mask{'s' * (masks > 1)}, seed {seed}"
    report = Report(type(ad.model).__name__, setting, found)
    if verbose:
        print(report)
    return report


def _each_input(ad: ADForward, inputs: tuple[Any, ...], masks: int, seed: int, verbose: bool) -> Report:
    """Run the checks for each input that has positions."""
    places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 2]
    if not places:
        raise ValueError("none of the inputs can be masked, expected at least one floating-point one, (N, C, *spatial)")
    reports = []
    for place in places:
        of_one = ad.around(_AtPlace(ad.model, inputs, place))
        reports.append(check_model(of_one, inputs[place], masks=masks, seed=seed, verbose=False))
    found = [
        replace(check, name=f"{check.name}, input {place}" if len(places) > 1 else check.name)
        for place, report in zip(places, reports)
        for check in report.checks
    ]
    report = Report(type(ad.model).__name__, reports[0].setting, tuple(found))
    if verbose:
        print(report)
    return report


class _AtPlace(nn.Module):
    """A model of several arguments as one with a single input; the others are those of the first sample."""

    def __init__(self, model: nn.Module, arguments: tuple[Any, ...], place: int) -> None:
        super().__init__()
        self.model, self.arguments, self.place, self.training = model, arguments, place, model.training

    def forward(self, x: Tensor) -> Any:
        """The model's output."""
        others = [
            one[:1].expand(len(x), *one.shape[1:]) if isinstance(one, Tensor) and one.dim() else one
            for one in self.arguments
        ]
        return self.model(*others[: self.place], x, *others[self.place + 1 :])


def growing_masks(x: Tensor, count: int, seed: int) -> list[Tensor]:
    """Nested masks of random patches, each larger than the one before, different for each sample; (N, *spatial)."""
    generator = torch.Generator().manual_seed(seed)
    shape = x.shape[min(2, x.dim() - 1) :]
    cells = [min(_CELLS, size) for size in shape]
    order = torch.stack([torch.randperm(math.prod(cells), generator=generator) for _ in range(len(x))])
    order = order.reshape(len(x), *cells)
    for dim, (size, number) in enumerate(zip(shape, cells), start=1):
        order = order.index_select(dim, torch.arange(size) * number // size)
    shares = [(i + 1) / (count + 1) for i in range(count)]
    return [(order < share * math.prod(cells)).to(x.device) for share in shares]


def _checks(ad: ADForward, x: Tensor, growing: list[Tensor], seed: int) -> Iterator[Check]:
    masks = [torch.zeros_like(growing[0]), *growing]
    required: dict[str, Callable[[], Check]] = {  # if one fails, the other checks are meaningless
        "eval mode": lambda: checks.eval_mode(ad.model),
        "repeatable": lambda: checks.repeatable(ad, x),
        "every operation has a rule": lambda: checks.rules(ad, x, masks),
    }
    others: dict[str, Callable[[], Check]] = {
        "Theorem 1": lambda: checks.theorem_1(ad, x, masks),
        "missing means missing": lambda: checks.missing(ad, x, masks, seed),
        "monotone masks": lambda: checks.monotone(ad, x, masks),
        "no lost masks": lambda: checks.no_lost_masks(ad, x, masks),
        "batches do not mix": lambda: checks.batches(ad, x, masks),
    }
    useless = False
    for name, check in {**required, **others}.items():
        if useless:
            yield Check(name, None)
            continue
        try:
            found = check()
        except Broken as broken:
            module, kind = broken.module or (None, "")
            found = Check(name, False, str(broken), module, kind, broken.operation)
        except UnsupportedOperationError as error:  # raised for a batch, though not for single samples
            found = Check(name, False, str(error))
        yield found
        useless = name in required and not found.passed


def _batch(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2 or x.numel() == 0:
        given = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"inputs must be a floating-point batch of shape (N, C, *spatial) or (N, T), got {given}")
    if not bool(x.isfinite().all()):
        raise ValueError("inputs contain NaN or Inf: give finite inputs (NaN marks a feature as masked)")
    return x.detach()
