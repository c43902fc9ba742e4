"""The expected cost of a study: forwards, memory and time, estimated by a short calibration."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Collection

import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad._methods import OVER_SUPERPIXELS, SEARCHED
from captum_ad._scoring import batch_of
from captum_ad.metrics.ranking import SCAN_STEPS
from captum_ad.study.measuring import Measuring
from captum_ad.study.plan import Plan
from captum_ad.study.units import OF_MASKING, Unit

_REPEATS = 3
_AT_BOX = 5  # approximate number of forwards to measure the effect of hiding the object: whole, object, controls


def expected(plan: Plan, known: Collection[Unit], processes: int) -> str:
    """The forwards, memory and time that the units without records would take, as text.

    Every model runs a few batches without masks and under every masking. The user's own methods run once.

    Parameters
    ----------
    plan : Plan
        The study.
    known : collection of Unit
        The units that are already recorded.
    processes : int
        The number of processes that share the work.
    """
    todo = [unit for unit in plan.units() if unit not in known]
    if not todo:
        return "Everything has been measured already."
    measuring, first = Measuring(plan), next(iter(plan.images))
    plain, hidden = {}, {}
    own: dict[str, int] = {}
    for model, subject in plan.subjects.items():
        x = subject.load(first).x
        batch = batch_of(plan.batch_size, x.device)
        plain[model] = _seconds(subject.model, x, batch, None)
        for name, masking in plan.maskings.items():
            hidden[model, name] = _seconds(masked_forward(subject.model, masking), x, batch, _half(x))
        for method, function in plan.methods.items():
            if not isinstance(function, str) and method not in own:
                own[method] = _forwards_of(measuring, Unit(model, first, method, next(iter(plan.maskings))))
    masked = planted = 0
    seconds = 0.0
    for unit in todo:
        x = measuring.prepared(unit.model, first).sample.x  # assume that all images cost as much as the first one
        under_mask, on_backgrounds = _of_unit(plan, unit, x, own)
        masked, planted = masked + under_mask, planted + on_backgrounds
        seconds += under_mask * hidden[unit.model, unit.masking] + on_backgrounds * plain[unit.model]
    peak = _peak()
    return (
        f"{len(todo):,} units ({len(known):,} are recorded): about {masked:,} forwards under masks and {planted:,} on "
        f"backgrounds.\nMemory: {peak} for each of {processes} processes.\n"
        f"Time: about {_words(seconds / processes)} with {processes} process{'es' if processes > 1 else ''} of "
        f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}, as measured on {first!r} now; "
        "Occlusion and FeatureAblation under AD often take half of that, because only what a mask changes is computed."
    )


def _of_unit(plan: Plan, unit: Unit, x: Tensor, own: dict[str, int]) -> tuple[int, int]:
    """The number of forwards of one unit under masks, and on backgrounds."""
    judges = plan.judges
    if unit.method == OF_MASKING:
        return len(judges.missingness) + _AT_BOX, 0
    steps = SCAN_STEPS if judges.step is None else -(-x[0, 0].numel() // judges.step)
    count = own.get(unit.method, 0) or _of_method(str(plan.methods[unit.method]), plan, x)
    sets = plan.subjects[unit.model].backgrounds.values()
    composites = (len(judges.gammas) + len(judges.sizes)) * sum(getattr(source, "n", 100) for source in sets)
    return count + steps * (2 if judges.deletion else 1), composites


def _of_method(method: str, plan: Plan, x: Tensor) -> int:
    effort = plan.effort
    if method == "occlusion":
        sides = [(side, min(effort.window, side)) for side in x.shape[2:]]
        return 1 + math.prod(1 + math.ceil((side - window) / max(1, window // 2)) for side, window in sides)
    if method == "feature_ablation":
        return 1 + effort.segments
    return effort.samples if method in OVER_SUPERPIXELS else SEARCHED * effort.samples


def _forwards_of(measuring: Measuring, unit: Unit) -> int:
    """The number of inputs that a user's own method runs."""
    plan = measuring.plan
    count = 0

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal count
        count += len(inputs[0])

    image = measuring.prepared(unit.model, unit.image)
    handle = image.model.register_forward_pre_hook(note)
    try:
        measuring.attributed(unit, image, masked_forward(image.model, plan.maskings[unit.masking]))
    finally:
        handle.remove()
    return max(1, count)


def _seconds(forward: nn.Module, x: Tensor, batch: int, mask: Tensor | None) -> float:
    """Seconds per input of a batch: the fastest of a few runs."""
    inputs, times = x.expand(batch, *x.shape[1:]), []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        with torch.no_grad():
            found = forward(inputs) if mask is None else forward(inputs, mask=mask)
            float(found.flatten()[0])  # waits for the GPU
        times.append(time.perf_counter() - start)
    return min(times) / batch


def _half(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], device=x.device).expand(x.shape[2:]) < x.shape[-1] // 2


def _peak() -> str:
    unit = 1 if sys.platform == "darwin" else 1024
    used = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GB"
    return f"{used}, and {torch.cuda.max_memory_allocated() / 2**30:.1f} GB of its GPU" if _on_gpu() else used


def _on_gpu() -> bool:
    return torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0


def _words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
