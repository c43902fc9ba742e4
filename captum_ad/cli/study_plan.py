"""Make the plan of a study from a data set and settings: check images, load models, match classes."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.errors import InputError
from captum_ad._common.images import Photograph
from captum_ad._methods import seeded
from captum_ad.cli.dataset import Entry, class_indices, some_of
from captum_ad.cli.devices import device_named
from captum_ad.cli.labels import carried_box
from captum_ad.cli.models import Classifier, load_classifier
from captum_ad.cli.predictions import probabilities
from captum_ad.cli.study_settings import Settings, paired
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds, OtherClassImages, SolidColors
from captum_ad.metrics.digests import digest
from captum_ad.study.plan import Effort, Judges, Plan, Sample, Subject
from captum_ad.study.processes import Processes
from captum_ad.targets.base import Target

SHARES = (0.25, 0.5, 0.75)
"""The shares of an image that stay visible, for the judge missingness."""

LEAST_SHARE = 0.5
"""The least share of an object that the transform must leave for its box to count."""

_PICTURE = 160  # pixels along the longer side


@dataclass(frozen=True)
class Made:
    """A plan, and what a report says about it.

    Attributes
    ----------
    plan : Plan
        The study.
    about : dict
        For readers of the report: skipped images, class names, transforms.
    """

    plan: Plan
    about: dict[str, Any]


def made(entries: Sequence[Entry], others: Sequence[Entry] | None, settings: Settings, among: Processes) -> Made:
    """Make the plan of a study on these images.

    Parameters
    ----------
    entries : sequence of Entry
        The data set.
    others : sequence of Entry, optional
        The data set that K2 is drawn from; by default `entries`.
    settings : Settings
        The settings of the study.
    among : Processes
        The processes, which share the reading of the images.

    Raises
    ------
    InputError, UnknownNameError
        If a model, method or class is unknown or does not fit, or if no image can be read.
    """
    torch.set_num_threads(settings.threads)
    device = device_named(_of_process(settings.device))
    methods, maskings = settings.methods_by_name(), settings.maskings_by_name()
    chosen = some_of(entries, settings.images, settings.seed)
    pool = _pool(entries if others is None else others, settings) if "K2" in settings.contexts else []
    digests, skipped = _checked(chosen, among)
    usable = [entry for entry in chosen if entry.name in digests]
    if not usable:
        some = "; ".join(list(skipped.values())[:3])
        raise InputError(f"none of the {len(chosen)} images can be read: {some}")
    pool_digests, pool_skipped = _checked(pool, among)
    pool = [entry for entry in pool if entry.name in pool_digests]
    subjects = {}
    about: dict[str, Any] = {"skipped": skipped | pool_skipped, "classes": {}, "transforms": {}, "notes": {}}
    for name, weights, classes in paired(settings):
        with seeded(settings.seed, device):
            classifier = load_classifier(name, weights, device, classes)
        subject = _subject(classifier, usable, pool, digest(sorted(pool_digests.items())), settings)
        subjects[name] = subject.subject
        about["classes"][name] = subject.names
        about["transforms"][name] = classifier.described_transform
        about["notes"][name] = list(classifier.notes)
    judges = Judges(
        tuple(settings.gammas),
        tuple(settings.sizes),
        settings.step,
        "deletion" in settings.judges,
        SHARES if "missingness" in settings.judges else (),
    )
    effort = Effort(settings.samples, settings.segments, settings.window)
    images = {entry.name: digests[entry.name] for entry in usable}
    plan = Plan(subjects, images, methods, maskings, judges, effort, settings.seed, settings.batch_size, pictures=True)
    return Made(plan, about)


@dataclass(frozen=True)
class _Named:
    subject: Subject
    names: dict[str, str]


def _subject(
    classifier: Classifier, usable: Sequence[Entry], pool: Sequence[Entry], pool_digest: str, settings: Settings
) -> _Named:
    first = usable[0].image
    x = classifier.prepare(first)
    row, to_confidence = probabilities(classifier, x, Photograph(usable[0].name, usable[0].name, first.size))
    given = [entry.class_name for entry in (*usable, *pool)]
    indices = class_indices(given, classifier.name, classifier.class_names, len(row))
    by_name = {entry.name: entry for entry in usable}

    def load(name: str) -> Sample:
        entry = by_name[name]
        image = entry.image
        x, box = classifier.prepare(image), None
        if entry.box is not None:
            carried = carried_box(entry.box, image, classifier, name)
            box = carried.box if carried.share >= LEAST_SHARE else None
        return Sample(x, (), indices[entry.class_name], box, _jpeg(classifier.displayed(x)))

    sets: dict[str, Backgrounds] = {}
    for context in settings.contexts:
        if context == "K1":
            mean, std = classifier.normalization(x.shape[1])
            known = mean is not None and std is not None
            n, seed = settings.backgrounds, settings.seed
            sets["K1"] = SolidColors(n, seed, mean or 0.0, std or 1.0) if known else ColorsOfItsRange(n, seed)
        else:
            inputs = _Inputs(classifier, pool, indices)
            sets["K2"] = OtherClassImages(inputs, settings.backgrounds, settings.seed, to_confidence)
    preparation = f"{classifier.described_transform} {pool_digest}"
    names = {str(index): classifier.class_name(index) for index in range(len(row))}
    return _Named(Subject(classifier.model, load, sets, to_confidence, preparation), names)


@dataclass(frozen=True)
class ColorsOfItsRange:
    """K1 if the transform's normalization is not known: colors in the range of the input's own values.

    Parameters
    ----------
    n, seed : int
        See :class:`~captum_ad.metrics.SolidColors`.
    """

    n: int
    seed: int

    def draw(
        self, model: nn.Module, x: Tensor, target: int | Target, *, batch_size: int | None = None
    ) -> DrawnBackgrounds:
        """Draw the colors, like :meth:`captum_ad.metrics.SolidColors.draw`."""
        low, high = float(x.min()), float(x.max())
        colors = SolidColors(self.n, self.seed, low=low, high=high if high > low else low + 1)
        return colors.draw(model, x, target, batch_size=batch_size)


class _Inputs:
    """A data set of inputs and classes of a model."""

    def __init__(self, classifier: Classifier, entries: Sequence[Entry], indices: Mapping[str, int]) -> None:
        self.classifier, self.entries, self.indices = classifier, entries, indices

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        entry = self.entries[index]
        return self.classifier.prepare(entry.image)[0], self.indices[entry.class_name]


def _pool(entries: Sequence[Entry], settings: Settings) -> list[Entry]:
    """The images that K2 is drawn from: more than needed, because those of the explained class are left out."""
    return some_of(entries, max(4 * settings.backgrounds, settings.backgrounds + 50), settings.seed + 1)


def _checked(entries: Sequence[Entry], among: Processes) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of the images that can be read, and the reasons why the others cannot."""
    digests, skipped = {}, {}
    own = entries[among.rank :: among.count]
    for entry in tqdm(own, desc="Reading the images", unit="image", disable=among.rank > 0 or len(own) < 200):
        try:
            _ = entry.image
            digests[entry.name] = entry.digest
        except (InputError, OSError) as error:
            skipped[entry.name] = str(error)
    found: dict[str, str] = {}
    left: dict[str, str] = {}
    for good, bad in among.gather((digests, skipped)):
        found |= good
        left |= bad
    return found, left


def _of_process(device: str) -> str:
    """The device of this process: for ``cuda``, the GPU with the number of the process on its machine."""
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
    return f"cuda:{int(local) % max(1, torch.cuda.device_count())}" if device == "cuda" else device


def _jpeg(pixels: np.ndarray[Any, np.dtype[np.float64]]) -> bytes:
    image = Image.fromarray(np.rint(255 * pixels).astype(np.uint8))
    image.thumbnail((_PICTURE, _PICTURE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
