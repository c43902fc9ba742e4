"""What a user calls: does Activation-Deactivation work on a network."""

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

_CELLS = 4  # of a random mask, in each dimension


def check_model(
    model: nn.Module | ADForward,
    inputs: Tensor | tuple[Any, ...],
    *,
    masks: int = 3,
    seed: int = 0,
    verbose: bool = True,
) -> Report:
    """Check on random masks that Activation-Deactivation works on a network, and name the module at fault if not.

    - *eval mode*: no module is in train mode.
    - *repeatable*: the model by itself gives the same bits twice.
    - *every operation has a rule*: the mask is carried through all of them, also if nothing is kept.
    - *Theorem 1*: with nothing masked, the output is the model's own, bit for bit; and a sample kept whole beside a
      masked one comes out as without masks (attention may round otherwise there).
    - *missing means missing*: noise, 1e30, Inf or NaN at masked positions of the input, and at deactivated positions
      of every layer, leave the output's bits alone.
    - *monotone masks*: a larger mask of the input makes no layer's mask smaller anywhere.
    - *no lost masks*: with nothing kept, no map comes alive again; and the output depends on the mask.
    - *batches do not mix*: a sample gives in a batch what it gives alone, to rounding.

    If one of the first three fails, the rest mean nothing and are left out. Rounding is a
    difference of at most 1e-4 of the largest output (float64: 1e-9, half precision: 2e-2).

    Parameters
    ----------
    model : nn.Module or ADForward
        The network; it is left as it was, in what its modules hold. A module is checked under ADForward's default
        rule; for another rule or τ, or to pick from its output, give an :class:`~captum_ad.ADForward`. A network whose
        output is not a tensor needs the forward's target: a detector its Detection.
    inputs : Tensor or tuple
        A batch of its inputs, real ones if you have some: floating, shape (N, C, *spatial) or (N, T), without NaN and
        Inf. Of a tuple of all arguments each input of three dimensions or more is masked in turn; the others stay as
        they are for the first sample.
    masks : int
        How many random masks, of patches, each larger than the one before. The one that keeps nothing comes on top.
    seed : int
        Of the masks, and of the noise.
    verbose : bool
        Whether to print the verdict.

    Returns
    -------
    Report
        True in a condition iff all is well, so that ``assert check_model(model, x)`` is a test. ``str(report)`` is the
        verdict; ``report["Theorem 1"]`` a check, with what was found and the module at fault.

    Raises
    ------
    ValueError
        If `inputs` or `masks` is unsuitable, or the output has not one row for each sample.
    TypeError
        As by ADForward: if `model` is not a module, or returns no tensor.

    Notes
    -----
    What a mask should be behind an operation of yours only you know: that a rule keeps the *right* positions is not
    checked. Nor is what happens with gradients, or on inputs unlike these, if the model does something else for them.

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
        ad = ad.with_target(None)  # all of the output says more than one score of it
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
    """The checks of each input that has positions."""
    places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 2]
    if not places:
        raise ValueError("none of the inputs is floating and of shape (N, C, *spatial): there is nothing to mask")
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
    """A model of several arguments as one of a single input; the others are those of the first sample."""

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
    """Random patches, in each mask more of them; shape (N, *spatial), other ones for each sample."""
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
    required: dict[str, Callable[[], Check]] = {  # without them, the others mean nothing
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
        except UnsupportedOperationError as error:  # of a batch, where each of its samples was none
            found = Check(name, False, str(error))
        yield found
        useless = name in required and not found.passed


def _batch(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2 or x.numel() == 0:
        given = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"inputs must be a batch of floating inputs of shape (N, C, *spatial) or (N, T), got {given}")
    if not bool(x.isfinite().all()):
        raise ValueError("inputs hold NaN or Inf; give inputs without (NaN masks a feature)")
    return x.detach()
