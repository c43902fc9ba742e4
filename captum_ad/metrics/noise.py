"""Noise robustness of attributions: stable if noise keeps the class, and different if it changes the class."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._scoring import in_eval_mode, one_input, plain
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.noises import NOISES, corrupted
from captum_ad.metrics.records import known_records, write_records
from captum_ad.metrics.similarity import SIMILARITIES
from captum_ad.segmentation import superpixels

if TYPE_CHECKING:
    import pandas as pd

Attribute = Callable[[Tensor, int], Any]
"""A function from an input (1, C, H, W) and a class to an attribution, a tensor or an array of any size, such as those
from Captum's attributors, including ``LayerGradCam``, and grad-cam's CAMs."""

LEVELS = (1, 2, 3, 4, 5)
COLUMNS = ("image", "method", "noise", "level", "class_kept", "similarity")
"""The columns of noise records."""


@dataclass(frozen=True)
class NoiseResponse:
    """How one noise at one level changed one attribution.

    Attributes
    ----------
    noise, level
        The name and level of the noise.
    class_kept : bool
        Whether the model predicts the same class as for the clean image.
    similarity : float
        Similarity of the attributions of the clean and the noisy image; NaN if one of them ranks nothing.
    """

    noise: str
    level: int
    class_kept: bool
    similarity: float


def noise_responses(
    model: nn.Module,
    inputs: Tensor,
    attribute: Attribute,
    noises: Sequence[str] | None = None,
    levels: Sequence[int] = LEVELS,
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    feature_mask: Tensor | None = None,
    similarity: str = "rbo",
    p: float = 0.9,
    seed: int = 0,
) -> list[NoiseResponse]:
    """How similar the attributions of an image and of its noisy versions are.

    From *Assessing the Noise Robustness of Class Activation Maps: A Framework for Reliable Model Interpretability*
    (2025, arXiv 2508.18154): the image is segmented once, by quickshift. The segments are ranked by their mean
    attribution in the clean and the noisy map, and the rankings are compared by rank-biased overlap. Our reading: each
    map explains the class predicted for its own image, even if noise changes it; the strengths of the noises, see
    :func:`corrupted`; the other similarity measures.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode. An ADForward runs like its model.
    inputs : Tensor
        One input, shape (1, C, H, W).
    attribute : callable
        A function from an input and a class to an attribution of any size, which is upsampled bilinearly. Its channels
        are summed.
    noises : sequence of str, optional
        Names in :data:`captum_ad.metrics.noises.NOISES`. Default: all.
    levels : sequence of int
        Noise levels, 1 to 5.
    mean, std : float or sequence of float
        The normalization of `inputs`: ``x * std + mean`` is the image in [0, 1].
    feature_mask : Tensor, optional
        Integer labels, shape (H, W) or with leading dimensions of 1. Default: quickshift segments of the image.
    similarity : {"rbo", "rank_correlation", "ssim", "top_overlap"}
        See :mod:`captum_ad.metrics.similarity`.
    p : float
        Parameter of rank-biased overlap.
    seed : int
        Random seed of the noise, which is the same for every attribution.

    Returns
    -------
    list of NoiseResponse
        One per noise and level, in this order.

    Raises
    ------
    ValueError, TypeError, UnknownNameError
        If an argument is invalid. Most often, `inputs` is normalized, and `mean` and `std` are missing.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    >>> blocks = torch.arange(4).repeat(4, 1)
    >>> found = noise_responses(model, torch.rand(1, 3, 4, 4), lambda x, t: x, ["contrast"], [1], feature_mask=blocks)
    >>> round(found[0].similarity, 6)  # less contrast, same order
    1.0
    """
    in_eval_mode(model)
    one_input(inputs)
    compare = similarity_named(similarity, p)
    names = list(NOISES) if noises is None else checked_noises(noises)
    pixels, back = _displayed(inputs, mean, std)
    if feature_mask is None and similarity == "rbo":
        feature_mask = superpixels(pixels[None], "quickshift")
    target = _answer(model, inputs)
    clean = _map(attribute, inputs, target)
    found = []
    for noise in names:
        for level in checked_levels(levels):
            noisy = back(corrupted(pixels, noise, level, seed))
            answer = _answer(model, noisy)
            alike = compare(clean, _map(attribute, noisy, answer), feature_mask)
            found.append(NoiseResponse(noise, level, answer == target, alike))
    return found


def noise_study(
    model: nn.Module,
    images: Mapping[str, Tensor],
    methods: Mapping[str, Attribute],
    noises: Sequence[str] | None = None,
    levels: Sequence[int] = LEVELS,
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    similarity: str = "rbo",
    p: float = 0.9,
    seed: int = 0,
    path: str | Path | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Run :func:`noise_responses` for many images and methods.

    Parameters
    ----------
    model, noises, levels, mean, std, similarity, p, seed
        As for :func:`noise_responses`.
    images : mapping
        Inputs (1, C, H, W) by name.
    methods : mapping
        Functions from an input and a class to an attribution, by name.
    path : str or Path, optional
        A file, .csv or .parquet, to which records are added after every image. Existing records are not computed
        again. Methods are recognized by name only.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        A row per image, method, noise and level, with the columns :data:`COLUMNS`, for :func:`noise_robustness`,
        :func:`noise_significance` and :func:`plot_noise_robustness`.

    Raises
    ------
    ValueError, TypeError, UnknownNameError
        As in :func:`noise_responses`; or if there are no images or methods, or the file has records of other settings.
    """
    pandas = needed("pandas", "pandas", "metrics")
    if not images or not methods:
        raise ValueError(
            f"expected at least one image and one method, got {len(images)} images and {len(methods)} methods"
        )
    file = None if path is None else Path(path)
    settings = (tuple(methods), tuple(noises or NOISES), tuple(levels), mean, std, similarity, p, seed)
    run = digest(fingerprint(model), described(settings))
    columns = [*COLUMNS, "run", "input"]
    known = known_records(file, run, columns)
    rows: list[dict[Any, Any]] = [] if known is None else known[columns].to_dict("records")
    done = {(row["image"], row["input"]) for row in rows}
    for name, x in tqdm(images.items(), desc="Noise", unit="image", disable=not show_progress):
        shown = digest(x, name)
        if (name, shown) in done:
            continue
        pixels, _ = _displayed(x, mean, std)
        segments = superpixels(pixels[None], "quickshift") if similarity == "rbo" else None
        common = {"mean": mean, "std": std, "feature_mask": segments, "similarity": similarity, "p": p, "seed": seed}
        for method, attribute in methods.items():
            for one in noise_responses(model, x, attribute, noises, levels, **common):  # type: ignore[arg-type]
                values = (name, method, one.noise, one.level, one.class_kept, one.similarity, run, shown)
                rows.append(dict(zip(columns, values, strict=True)))
        if file is not None:
            write_records(pandas.DataFrame(rows, columns=columns), file)
    found: pd.DataFrame = pandas.DataFrame(rows, columns=columns)
    return found[found["image"].isin(list(images))].reset_index(drop=True)


def checked_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """Check that there is at least one level of noise, each from 1 to 5.

    Raises
    ------
    ValueError
        If not.
    """
    if not len(levels) or any(level not in LEVELS for level in levels):
        raise ValueError(f"levels must be a sequence of integers from 1 to 5, got {levels!r}")
    return tuple(levels)


def similarity_named(name: str, p: float) -> Callable[..., float]:
    """The similarity measure of that name.

    Raises
    ------
    UnknownNameError
        If it is unknown.
    """
    if name not in SIMILARITIES:
        raise UnknownNameError("similarity", name, SIMILARITIES)
    function: Callable[..., float] = SIMILARITIES[name]
    return functools.partial(function, p=p) if name == "rbo" else function


def checked_noises(noises: Sequence[str]) -> list[str]:
    """Check names of noises.

    Raises
    ------
    ValueError, UnknownNameError
        If a name is unknown, or a string is given instead of a sequence.
    """
    if isinstance(noises, str):
        raise ValueError(f"noises must be a sequence of names, got {noises!r}: write [{noises!r}]")
    for noise in noises:
        if noise not in NOISES:
            raise UnknownNameError("noise", noise, NOISES)
    return list(noises)


def _displayed(x: Tensor, mean: Any, std: Any) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The image in [0, 1], shape (C, H, W), and a function that normalizes it again."""
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"noise needs an image, a floating-point input (1, C, H, W), got {tuple(x.shape)}")
    shift, scale = (_per_channel(given, x, name) for given, name in ((mean, "mean"), (std, "std")))
    pixels = x[0] * scale + shift
    if not bool(((pixels > -1e-3) & (pixels < 1 + 1e-3)).all()):
        raise ValueError(
            f"x * std + mean has values from {float(pixels.min()):.3g} to {float(pixels.max()):.3g}, expected 0 to 1: "
            "give mean= and std=, with which the model's input was normalized"
        )
    return pixels.clamp(0, 1), lambda image: ((image - shift) / scale)[None]


def _per_channel(given: Any, x: Tensor, name: str) -> Tensor:
    values = [given] if isinstance(given, numbers.Real) else list(given)
    if len(values) not in (1, x.shape[1]):
        raise ValueError(f"{name} has {len(values)} values for {x.shape[1]} channels")
    return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)


def _answer(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad():
        output = plain(model).outputs(x.clone())
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the model returned {what}, expected (1, classes) with at least two classes")
    return int(output.argmax(1))


def _map(attribute: Attribute, x: Tensor, target: int) -> Tensor:
    """An attribution of an input, resized to it."""
    values = torch.as_tensor(attribute(x.clone(), target)).detach()
    if values.dim() < 2 or values.numel() == 0:
        raise ValueError(
            f"attribute returned shape {tuple(values.shape)}, expected an attribution of positions, (H, W)"
        )
    if values.shape[-2:] == x.shape[-2:]:
        return values
    small = values.reshape(1, -1, *values.shape[-2:]).double()
    return F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)
