"""Find the masking that disturbs a network least when irrelevant parts are missing, but not when the object is.

Every masking gets the same masks for the same photographs, so that all differences are paired:

- *N % there*: only N % of the patches, chosen at random, are kept; a patch has 16 of 224 pixels. *middle 25 %*: only
  the middle is kept.
- With boxes: *object alone* keeps only the object; *object hidden* keeps everything else; *control hidden* hides a box
  of the object's size that does not overlap the object.

That a network should keep its class without irrelevant parts is the idea of missingness bias (Jain et al. 2022,
*Missingness Bias in Model Debugging*).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.extras import needed
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.baseline_forward import MaskedForward, Masking, masked_forward
from captum_ad._scoring import Judge, ToConfidence, batch_of, in_eval_mode, scored, share
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.given import checked_seed, named_images
from captum_ad.metrics.masking_names import UNMASKED, by_their_names
from captum_ad.metrics.missingness import present_masks
from captum_ad.metrics.recommendation_file import COLUMNS, Known, Rows
from captum_ad.metrics.recommendation_table import ALONE, CONTROL, HIDDEN, MIDDLE, WHOLE, Recommendation, there

if TYPE_CHECKING:
    import pandas as pd

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom are exclusive."""


class NoneRightError(ValueError):
    """The network is right on no photograph, so there is no class to keep."""


def recommend_rule(
    model: nn.Module,
    images: Mapping[str, Tensor] | Sequence[Tensor] | Tensor,
    targets: Sequence[int] | Tensor | None = None,
    *,
    boxes: Sequence[Box] | None = None,
    maskings: Sequence[str | MaskRule] | Mapping[str, Masking] | None = None,
    shares: Sequence[float] = (0.75, 0.5, 0.25),
    patch: int | None = None,
    seed: int = 0,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    path: str | Path | None = None,
    show_progress: bool = False,
) -> Recommendation:
    """Try every masking on photographs, and recommend the one that disturbs this network least.

    Only photographs that the network classifies correctly when whole are used. The score of a masking on a photograph
    is how often the class is kept, averaged over random patches at each of `shares` and, with boxes, the object alone,
    all equally weighted. The score of a masking is the mean over photographs.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    images : mapping, sequence or Tensor
        Model inputs, shape (1, C, H, W) or (C, H, W) each, by name; unnamed ones are called "0", "1", …
    targets : sequence of int, optional
        The class of each image. Default: the model's predictions for the whole images.
    boxes : sequence of (left, top, right, bottom), optional
        The object's box in each image, in pixels of the model's input; right and bottom are exclusive.
    maskings : sequence of str or MaskRule, or mapping, optional
        At least two: ``"ad:PRESET"``, ``"ad:KNOB=VALUE,…"``, rules, and names of baselines; or a mapping of names to
        rules and any baselines, in which names that begin with "ad:" count as AD. Default: all presets and all named
        baselines.
    shares : sequence of float
        Fractions of the patches to keep, above 0 and below 1.
    patch : int, optional
        Side of a patch in pixels. Default: 16 for 224 pixels, in proportion to the shorter side.
    seed : int
        Random seed of the masks. Image i has the patches of ``present_masks(..., seed=(seed, i))``, as in
        :func:`missingness_curve`, and its own control. So masks depend on the order of images.
    to_confidence : str or callable
        As for :func:`sufficient_explanation`.
    batch_size : int, optional
        Masks per forward. Default: 8 on the CPU (all masks of an image at once), else 32.
    path : str or Path, optional
        A file, .csv or .parquet, to write records to after every image. Existing records are not computed again.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    Recommendation
        Its ``sentence`` says what to use; ``table()``, ``markdown()`` and ``plot()`` show why; ``records`` has all.

    Raises
    ------
    NoneRightError
        If the model is right on none of the images. It is a ValueError.
    ValueError, TypeError, UnknownNameError
        If an argument is invalid, or the file has records of other settings or another model.
    ImportError
        If an optional dependency is missing.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    >>> found = recommend_rule(model, torch.rand(6, 3, 8, 8), maskings=["ad:no-growth", "zero"], patch=2)
    >>> found.best in ("ad:no-growth", "zero")
    True
    """
    pandas = needed("pandas", "pandas", "metrics")
    needed("scipy.stats", "scipy", "metrics")
    in_eval_mode(model)
    inputs = _images(images)
    if targets is not None and len(targets) != len(inputs):
        raise ValueError(f"expected one target per image, got {len(inputs)} images and {len(targets)} targets")
    how = by_their_names(maskings)
    forwards = {name: masked_forward(model, masking) for name, masking in how.items()}
    levels = _shares(shares)
    places: Sequence[Box | None]
    places = [None] * len(inputs) if boxes is None else _boxes(boxes, list(inputs.values()))
    seed = checked_seed(seed)
    trial = _Trial(levels, patch, seed, to_confidence, batch_size)
    settings = [described(value) for value in (levels, patch, seed, to_confidence)]
    file = Known(path, digest(fingerprint(model), *settings))
    texts = {name: _hides(forward) for name, forward in forwards.items()}
    rows: Rows = []
    with tqdm(
        total=len(inputs) * len(forwards), desc="Missing parts", unit="masking", disable=not show_progress
    ) as bar:
        for i, (image, x) in enumerate(inputs.items()):
            target = None if targets is None else targets[i]
            label = None if target is None else int(target)
            whole_input = digest(x, str((i, label, places[i])))
            whole = file.known(image, UNMASKED, whole_input, [WHOLE], label)
            if whole is None:
                whole = file.added(image, UNMASKED, whole_input, trial.whole(model, x, target))
            rows += whole
            masks: dict[str, Tensor] = {}
            for name, forward in forwards.items():
                if whole[0]["kept"]:
                    masks = masks or trial.masks(x, places[i], i)
                    cell = digest(whole_input, texts[name])
                    found = file.known(image, name, cell, list(masks), whole[0]["target"])
                    if found is None:
                        scores = trial.masked(forward, x, whole[0]["target"], masks)
                        found = file.added(image, name, cell, scores)
                    rows += found
                bar.update()
            file.write()
    file.write(first=rows)
    right = sum(row["kept"] for row in rows if row["masking"] == UNMASKED)
    if not right:
        raise NoneRightError(
            f"the network is right on none of the {len(inputs)} whole photographs (accuracy 0 %): check that targets "
            "are its class indices, and that images are preprocessed as in its training"
        )
    records: pd.DataFrame = pandas.DataFrame(rows, columns=list(COLUMNS))
    return Recommendation(records, how, levels, labeled=targets is not None, seed=seed)


@dataclass(frozen=True)
class _Trial:
    """The tests of one photograph."""

    shares: tuple[float, ...]
    patch: int | None
    seed: int
    to_confidence: ToConfidence
    batch_size: int | None

    def whole(self, model: nn.Module, x: Tensor, target: int | Tensor | None) -> Rows:
        with torch.no_grad():
            output = model(x)
        if target is None:
            Judge(0, self.to_confidence)(output)  # raises an error if it is not a classifier's output
            target = int(output.argmax(1))
        confidence, kept = scored(lambda start, stop: output, 1, Judge(target, self.to_confidence), 1)
        return [{"target": int(target), "test": WHOLE, "kept": bool(kept), "confidence": float(confidence)}]

    def masks(self, x: Tensor, box: Box | None, index: int) -> dict[str, Tensor]:
        """The mask of each test, bool, True = keep, shape (H, W)."""
        height, width = x.shape[2:]
        patch = max(1, round(min(height, width) * 16 / 224)) if self.patch is None else self.patch
        scattered = present_masks(x, self.shares, "patches", patch=patch, seed=(self.seed, index))
        masks = {there(level): mask for level, mask in zip(self.shares, scattered)}
        for level, mask in zip(self.shares, scattered):
            if mask.all() or not mask.any():
                raise ValueError(
                    f"patches of {patch} pixels are too large for an image of {height} × {width}: {100 * level:g} % of "
                    f"them are {'all' if mask.all() else 'none'}. Give a smaller patch"
                )
        masks[MIDDLE] = present_masks(x, [0.25], "center")[0]
        if box is not None:
            masks[ALONE] = _inside(box, x)
            masks[HIDDEN] = ~masks[ALONE]
            control = _off_the_object(box, height, width, np.random.default_rng((self.seed, index, 1)))
            if control is not None:
                masks[CONTROL] = ~_inside(control, x)
        return masks

    def masked(self, forward: MaskedForward, x: Tensor, target: int, masks: dict[str, Tensor]) -> Rows:
        stacked = torch.stack(list(masks.values()))
        batch = 8 if self.batch_size is None and x.device.type == "cpu" else batch_of(self.batch_size, x.device)

        def run(start: int, stop: int) -> Tensor:
            output: Tensor = forward(x.expand(stop - start, *x.shape[1:]), mask=stacked[start:stop])
            return output

        confidence, kept = scored(run, len(stacked), Judge(target, self.to_confidence), batch)
        values = zip(masks, kept.tolist(), confidence.tolist())
        return [{"target": target, "test": test, "kept": right, "confidence": sure} for test, right, sure in values]


def _images(images: Mapping[str, Tensor] | Sequence[Tensor] | Tensor) -> dict[str, Tensor]:
    inputs = named_images(images)
    for name, x in inputs.items():
        if x.dim() != 4:
            raise ValueError(f"image {name!r}: expected shape (1, C, H, W) or (C, H, W), got {tuple(x.shape)}")
    return inputs


def _shares(shares: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(share(level, "a share of the image") for level in shares)
    if not levels or len(set(levels)) < len(levels) or {0.0, 1.0} & set(levels):
        raise ValueError(f"shares must be one or more different fractions above 0 and below 1, got {shares!r}")
    names = list(map(there, levels))
    alike = [name for name in names if names.count(name) > 1]
    if alike:
        raise ValueError(f"two of the shares {shares!r} have the same label {alike[0]!r}: leave one out")
    return levels


def _boxes(boxes: Sequence[Box], inputs: Sequence[Tensor]) -> list[Box]:
    """The boxes as integers, each within its image."""
    if len(boxes) != len(inputs):
        raise ValueError(f"expected one box per image, got {len(inputs)} images and {len(boxes)} boxes")
    checked = []
    for i, (box, x) in enumerate(zip(boxes, inputs)):
        height, width = x.shape[2:]
        try:
            left, top, right, bottom = (operator.index(edge) for edge in box)
        except (TypeError, ValueError):
            raise ValueError(f"box {i}: expected four integers (left, top, right, bottom), got {box!r}") from None
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(
                f"box {i}: expected left < right within 0 to {width} and top < bottom within 0 to {height}, got "
                f"{(left, top, right, bottom)}: check that it is in pixels of the model's input"
            )
        checked.append((left, top, right, bottom))
    return checked


def _inside(box: Box, x: Tensor) -> Tensor:
    mask = torch.zeros(x.shape[2:], dtype=torch.bool, device=x.device)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def _off_the_object(box: Box, height: int, width: int, generator: np.random.Generator) -> Box | None:
    """A box of the same size that does not overlap, uniformly at random; None if there is no place for it."""
    left, top, right, bottom = box
    lefts, tops = np.arange(width - (right - left) + 1), np.arange(height - (bottom - top) + 1)
    beside = (lefts + right - left <= left) | (lefts >= right)
    above_or_below = (tops + bottom - top <= top) | (tops >= bottom)
    places = np.argwhere(above_or_below[:, None] | beside)
    if not len(places):
        return None
    y, x = (int(value) for value in generator.choice(places))
    return x, y, x + right - left, y + bottom - top


def _hides(forward: MaskedForward) -> str:
    """Describe how a forward hides features, by its settings rather than a preset's name, which may change meaning."""
    return repr((forward.rule, forward.tau)) if isinstance(forward, ADForward) else described(forward.baseline)
