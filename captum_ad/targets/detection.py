"""A target of detectors: one object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from captum_ad.targets.base import Given, Target, part_of, share
from captum_ad.targets.classes import Names, checked_confidence, index_of

_KEYS = {"boxes", "labels", "scores"}
"""What torchvision's detectors report of each image."""
_HUGGING_FACE = "ObjectDetectionOutput"
_BY_SOFTMAX = ("Detr", "TableTransformer", "Yolos")
"""Whose outputs there have a class for no object, the last one; the others' have none."""


class Found(NamedTuple):
    """What a detector finds in one image: boxes (D, 4), the class and the objectness of each, and its likeness."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    likeness: Tensor


class Detection(Target):
    """One object that a detector finds: why this box, and why this class.

    The score is D-RISE's (Petsiuk et al. 2021), the largest over all detections of overlap (IoU) × likeness of class ×
    objectness. torchvision's detectors report one score, which is the objectness, and likeness is whether the class is
    the same. Of Hugging Face's DETR likeness is the cosine of the class probabilities with the class, and objectness
    the probability that it is not "no object". D-RISE itself is :class:`~captum_ad.attr.Rise` with this target, 5,000
    masks and a grid of 16.

    torchvision's detectors report nothing below their own threshold, so that the score falls to 0 at once. Build them
    with ``box_score_thresh=0.0`` (or ``score_thresh=0.0``) to see the steps between.

    Under an :class:`~captum_ad.ADForward` features are missing from what torchvision's backbone gives; proposals,
    heads, top k, suppression of overlaps and pooling of regions run on what is there. DETR is followed to its end.

    Parameters
    ----------
    box : sequence of float
        (left, top, right, bottom), in pixels of the model's input.
    label : int or str
        The class, or its name.
    overlap : float
        The object is still found while a detection of the class has that IoU with the box at least,
    least : float
        and that score at least.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    to_confidence : {"softmax", "sigmoid"}
        Of Hugging Face's logits: ``"softmax"`` over the classes and, last, "no object" (DETR, YOLOS), or ``"sigmoid"``
        (Conditional and Deformable DETR, RT-DETR, and all others there).

    Raises
    ------
    TypeError, ValueError, UnknownNameError
        If the box is none, or there is no such class.

    Examples
    --------
    >>> found = {"boxes": torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]]), "labels": torch.tensor([1, 1]),
    ...          "scores": torch.tensor([0.6, 0.8])}
    >>> target = Detection((0, 0, 4, 4), 1)
    >>> readout = target.readout([found], Given(()))
    >>> target.score(readout), target.kept(readout)
    (tensor([0.6000]), tensor([True]))
    """

    def __init__(
        self,
        box: Sequence[float] | Tensor,
        label: int | str | Tensor,
        *,
        overlap: float = 0.5,
        least: float = 0.5,
        names: Names | None = None,
        to_confidence: str = "softmax",
    ) -> None:
        try:
            self.box = tuple(float(side) for side in (box.tolist() if isinstance(box, Tensor) else box))
        except (TypeError, ValueError) as error:
            raise TypeError(f"box must be four numbers (left, top, right, bottom) in pixels, got {box!r}") from error
        sides_in_order = len(self.box) == 4 and self.box[0] < self.box[2] and self.box[1] < self.box[3]
        if not sides_in_order or not all(map(math.isfinite, self.box)):
            raise ValueError(f"box must be (left, top, right, bottom) in pixels, of some finite area, got {self.box}")
        checked_confidence(to_confidence, ("softmax", "sigmoid"))
        self.label, self.by_softmax = index_of(label, names), to_confidence == "softmax"
        if self.label < 0:
            raise ValueError(f"label must be a class, 0 or more, got {self.label}")
        self.overlap, self.least = share(overlap, "overlap"), share(least, "least")

    instead: ClassVar[str] = "take box and label of one of its detections, or a smaller overlap= or least="

    def readout(self, output: Any, given: Given) -> list[Found]:
        """What is found in each image.

        Raises
        ------
        TypeError, ValueError
            If it is not a detector's output.
        """
        logits, boxes = part_of(output, "logits"), part_of(output, "pred_boxes")
        if logits is not None and boxes is not None:
            return self._of_queries(output, logits, boxes, given)
        if isinstance(output, Sequence) and all(isinstance(one, Mapping) and one.keys() >= _KEYS for one in output):
            return [self._reported(one) for one in output]
        raise TypeError(
            f"Detection: the model returned {type(output).__name__}, expected a list of dicts with boxes, labels and "
            "scores, as torchvision's detectors give, or logits and pred_boxes, as Hugging Face's: wrap it"
        )

    @property
    def checks_whole(self) -> bool:
        """Always: of an object that is not found in the whole image there is nothing to explain."""
        return True

    def bound(self, whole: Any) -> Target:
        """It, if the detector finds something of it in the whole image.

        Raises
        ------
        ValueError
            If no detection of the class overlaps the box.
        """
        for sample in (self.score(whole) <= 0).nonzero().flatten().tolist():
            labels = sorted(set(whole[sample].labels.tolist()))
            raise ValueError(
                f"the detector finds no object of class {self.label} that overlaps the box {self.box} in sample "
                f"{sample}, so the score is 0 whatever is hidden; in all it finds "
                f"{f'classes {labels}' if labels else 'nothing'}. Take box and label of one of its detections, "
                "model(x)[0]"
            )
        return self

    def score(self, readout: Any) -> Tensor:
        """The best overlap × likeness × objectness, 0 where nothing is found."""
        return self._best(readout, lambda one: self._overlap(one) * one.likeness * one.scores)

    def kept(self, readout: Any) -> Tensor:
        """Whether a detection of the class has both the overlap and the score."""

        def enough(one: Found) -> Tensor:
            near = (self._overlap(one) >= self.overlap) & (one.scores >= self.least)
            return (near & (one.labels == self.label)).to(one.scores)

        return self._best(readout, enough) > 0

    def _best(self, readout: list[Found], value: Any) -> Tensor:
        each = [value(one) for one in readout]
        return torch.stack([values.amax() if len(values) else values.new_zeros(()) for values in each])

    def _overlap(self, one: Found) -> Tensor:
        """Of each box with this one: the area of both over that of either."""
        box = one.boxes.new_tensor(self.box)
        sides = (torch.minimum(one.boxes[:, 2:], box[2:]) - torch.maximum(one.boxes[:, :2], box[:2])).clamp(min=0)
        both = sides.prod(1)
        areas = (one.boxes[:, 2:] - one.boxes[:, :2]).clamp(min=0).prod(1) + (box[2:] - box[:2]).prod()
        return both / (areas - both)

    def _reported(self, one: Mapping[str, Tensor]) -> Found:
        """Of torchvision's detectors."""
        boxes, labels, scores = (one[key] for key in ("boxes", "labels", "scores"))
        return Found(boxes, labels, scores, (labels == self.label).to(boxes))

    def _of_queries(self, output: Any, logits: Tensor, boxes: Tensor, given: Given) -> list[Found]:
        """Of DETR and its kind: boxes are (center, size) in shares of the image."""
        kind = type(output).__name__
        if kind.endswith(_HUGGING_FACE) and kind.startswith(_BY_SOFTMAX) != self.by_softmax:
            has, right = ("no class", "sigmoid") if self.by_softmax else ("a class", "softmax")
            raise ValueError(f"{kind} has {has} for no object: say Detection(..., to_confidence={right!r})")
        count = logits.shape[-1] - self.by_softmax
        if not 0 <= self.label < count:
            raise ValueError(f"target {self.label} is out of range: the detector has classes 0 to {count - 1}")
        if not given.inputs:
            raise ValueError("Detection needs the image, whose size turns the boxes into pixels: ad(pixel_values)")
        height, width = given.inputs[0].shape[-2:]
        center, half = boxes[..., :2], boxes[..., 2:] / 2
        corners = torch.cat([center - half, center + half], -1) * boxes.new_tensor([width, height, width, height])
        classes = logits.softmax(-1)[..., :-1] if self.by_softmax else logits.sigmoid()
        objectness = 1 - logits.softmax(-1)[..., -1] if self.by_softmax else classes.amax(-1)
        likeness = classes[..., self.label] / classes.norm(dim=-1).clamp(min=1e-12)
        return [Found(*one) for one in zip(corners, classes.argmax(-1), objectness, likeness)]

    def __repr__(self) -> str:
        return f"Detection({self.box}, {self.label})"
