"""Backgrounds of a study, classified once per model and set instead of once per image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from captum_ad._scoring import Judge, batch_of, plain, whole_of
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds, OtherClassImages
from captum_ad.targets.base import Target, tensor_of


def of_model(model: nn.Module, sets: Mapping[str, Backgrounds]) -> dict[str, Backgrounds]:
    """Sets of backgrounds for one model; those of :class:`OtherClassImages` are classified once for all inputs."""
    return {
        name: ClassifiedOnce(model, source) if isinstance(source, OtherClassImages) else source
        for name, source in sets.items()
    }


class ClassifiedOnce:
    """Draws like :class:`OtherClassImages`, but with one forward per image instead of one per image and input.

    Parameters
    ----------
    model : nn.Module
        The plain model.
    source : OtherClassImages
        The set.
    """

    def __init__(self, model: nn.Module, source: OtherClassImages) -> None:
        self.model, self.source = model, source
        self.order = np.random.default_rng(source.seed).permutation(len(source.dataset)).tolist()
        self.labels: list[int] = []
        self.images: list[Tensor] = []
        self.outputs: Tensor | None = None

    def draw(
        self, model: nn.Module, x: Tensor, target: int | Target, *, batch_size: int | None = None
    ) -> DrawnBackgrounds:
        """Draw the first images whose label is not `target` and which the model does not classify as `target`.

        Parameters
        ----------
        model, x, target, batch_size
            See :meth:`OtherClassImages.draw`, which is called for another model, or for a target that is not a class.

        Raises
        ------
        ValueError
            If none is left, or an image of the set has another shape than `x`.
        """
        if isinstance(target, Target) or model is not self.model:
            return self.source.draw(model, x, target, batch_size=batch_size)
        judge, wanted, size = Judge(target, self.source.to_confidence), self.source.n, batch_of(batch_size, x.device)
        whole_of(plain(model).with_target(judge.asked), x, judge)
        chosen: list[int] = []
        excluded = place = 0
        while len(chosen) < wanted and place < len(self.order):
            if place == len(self.labels):
                self._classify(x, size)
            assert self.outputs is not None
            called = judge(self.outputs[place:])[1].tolist()
            for label, itself in zip(self.labels[place:], called):
                if label != target:
                    excluded += itself
                    chosen += [] if itself else [place]
                place += 1
                if len(chosen) == wanted:
                    break
        if not chosen:
            raise ValueError(
                f"no background is left: all {len(self.order)} images of the set have class {target}, or the model "
                "gives it to them"
            )
        return DrawnBackgrounds(partial(self._batch, chosen, x), len(chosen), excluded)

    def _classify(self, x: Tensor, size: int) -> None:
        """Load the next images of the draw and run the model on them."""
        images = []
        for index in self.order[len(self.labels) : len(self.labels) + size]:
            image, label = self.source.item(index)
            if not isinstance(image, Tensor) or image.shape != x.shape[1:]:
                what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
                raise ValueError(
                    f"item {index} of the data set is {what}, expected a tensor of shape {tuple(x.shape[1:])}, "
                    "that of the input"
                )
            images.append(image.to(x))
            self.labels.append(int(label))
        with torch.no_grad():
            found = tensor_of(self.model(torch.stack(images)))
        self.images += images
        self.outputs = found if self.outputs is None else torch.cat([self.outputs, found])

    def _batch(self, chosen: list[int], x: Tensor, start: int, stop: int) -> Tensor:
        return torch.stack([self.images[place] for place in chosen[start:stop]]).to(x)
