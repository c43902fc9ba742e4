"""A target for detectors: one object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from captum_ad.targets.base import Given, Target, part_of, share
from captum_ad.targets.classes import Names, checked_confidence, index_of

_KEYS = {"boxes", "labels", "scores"}
"""What torchvision's detectors report for each image."""
_HUGGING_FACE = "ObjectDetectionOutput"
_BY_SOFTMAX = ("Detr", "TableTransformer", "Yolos")
"""Hugging Face detectors whose outputs have "no object" as their last class; the others have no such class."""


class Found(NamedTuple):
    """What a detector finds in one image: D boxes (D, 4), and the class, objectness and class likeness of each."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    likeness: Tensor


class Detection(Target):
    """One object that a detector finds: why this box, and why this class.

    The score is D-RISE's (Petsiuk et al. 2021): the maximum over all detections of box overlap (IoU) × class likeness ×
    objectness. For torchvision's detectors, objectness is the reported score, and likeness is 1 if the class is the
    same, else 0. For Hugging Face's DETR, likeness is the cosine of the class probabilities with the class, and
    objectness is the probability that it is not "no object". D-RISE itself is :class:`~captum_ad.attr.Rise` with this
    target, 5,000 masks, and a grid of 16.

    torchvision's detectors drop detections below their own score threshold, so the score jumps to 0 there. Build them
    with ``box_score_thresh=0.0`` (or ``score_thresh=0.0``) to see the values in between.

    Under an :class:`~captum_ad.ADForward`, masks propagate through the backbone of torchvision's detectors; proposals,
    heads, top k, non-maximum suppression, and ROI pooling then run on its features as usual. In DETR, masks propagate
    through the whole network.

    Parameters
    ----------
    box : sequence of float
        (left, top, right, bottom), in pixels of the model's input.
    label : int or str
        The class index, or a name in `names`.
    overlap : float
        The answer is kept while a detection of the class has at least this IoU with the box.
    least : float
        That detection must also have at least this score.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    to_confidence : {"softmax", "sigmoid"}
        For Hugging Face's logits: ``"softmax"`` if the last class is "no object" (DETR, YOLOS), ``"sigmoid"`` for all
        other detectors there (Conditional and Deformable DETR, RT-DETR, …).

    Raises
    ------
    TypeError, ValueError, UnknownNameError
        If the box or the class is invalid.

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
            raise ValueError(
                f"box must be (left, top, right, bottom) in pixels, with a positive, finite area, got {self.box}"
            )
        checked_confidence(to_confidence, ("softmax", "sigmoid"))
        self.label, self.by_softmax = index_of(label, names), to_confidence == "softmax"
        if self.label < 0:
            raise ValueError(f"label must be a class index of at least 0, got {self.label}")
        self.overlap, self.least = share(overlap, "overlap"), share(least, "least")

    instead: ClassVar[str] = "use the box and label of one of its detections, or give a smaller overlap= or least="

    def readout(self, output: Any, given: Given) -> list[Found]:
        """What the detector finds in each image.

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
            "scores as from torchvision's detectors, or logits and pred_boxes as from Hugging Face's: wrap the model"
        )

    @property
    def checks_whole(self) -> bool:
        """Always: if the object is not found in the whole image, there is nothing to explain."""
        return True

    def bound(self, whole: Any) -> Target:
        """Itself, after checking that the detector finds the object in the whole image.

        Raises
        ------
        ValueError
            If no detection of the class overlaps the box.
        """
        for sample in (self.score(whole) <= 0).nonzero().flatten().tolist():
            labels = sorted(set(whole[sample].labels.tolist()))
            raise ValueError(
                f"the detector finds no object of class {self.label} that overlaps the box {self.box} in sample "
                f"{sample}, so the score is 0 whatever is hidden. It finds "
                f"{f'classes {labels}' if labels else 'nothing'}: use the box and label of one of its detections, "
                "model(x)[0]"
            )
        return self

    def score(self, readout: Any) -> Tensor:
        """The largest overlap × likeness × objectness, shape (N,); 0 if nothing is found."""
        return self._best(readout, lambda one: self._overlap(one) * one.likeness * one.scores)

    def kept(self, readout: Any) -> Tensor:
        """Whether a detection of the class has enough overlap and score, shape (N,)."""

        def enough(one: Found) -> Tensor:
            near = (self._overlap(one) >= self.overlap) & (one.scores >= self.least)
            return (near & (one.labels == self.label)).to(one.scores)

        return self._best(readout, enough) > 0

    def _best(self, readout: list[Found], value: Any) -> Tensor:
        each = [value(one) for one in readout]
        return torch.stack([values.amax() if len(values) else values.new_zeros(()) for values in each])

    def _overlap(self, one: Found) -> Tensor:
        """IoU of each detected box with the given one."""
        box = one.boxes.new_tensor(self.box)
        sides = (torch.minimum(one.boxes[:, 2:], box[2:]) - torch.maximum(one.boxes[:, :2], box[:2])).clamp(min=0)
        both = sides.prod(1)
        areas = (one.boxes[:, 2:] - one.boxes[:, :2]).clamp(min=0).prod(1) + (box[2:] - box[:2]).prod()
        return both / (areas - both)

    def _reported(self, one: Mapping[str, Tensor]) -> Found:
        """From the output of torchvision's detectors."""
        boxes, labels, scores = (one[key] for key in ("boxes", "labels", "scores"))
        return Found(boxes, labels, scores, (labels == self.label).to(boxes))

    def _of_queries(self, output: Any, logits: Tensor, boxes: Tensor, given: Given) -> list[Found]:
        """From the output of DETR and similar models, whose boxes are (center, size) as fractions of the image."""
        kind = type(output).__name__
        if kind.endswith(_HUGGING_FACE) and kind.startswith(_BY_SOFTMAX) != self.by_softmax:
            has, right = ("no class", "sigmoid") if self.by_softmax else ("a class", "softmax")
            raise ValueError(f'{kind} has {has} for "no object": use Detection(..., to_confidence={right!r})')
        count = logits.shape[-1] - self.by_softmax
        if not 0 <= self.label < count:
            raise ValueError(f"target {self.label} is out of range: the detector has classes 0 to {count - 1}")
        if not given.inputs:
            raise ValueError("Detection needs the image size to convert boxes into pixels: call ad(pixel_values)")
        height, width = given.inputs[0].shape[-2:]
        center, half = boxes[..., :2], boxes[..., 2:] / 2
        corners = torch.cat([center - half, center + half], -1) * boxes.new_tensor([width, height, width, height])
        classes = logits.softmax(-1)[..., :-1] if self.by_softmax else logits.sigmoid()
        objectness = 1 - logits.softmax(-1)[..., -1] if self.by_softmax else classes.amax(-1)
        likeness = classes[..., self.label] / classes.norm(dim=-1).clamp(min=1e-12)
        return [Found(*one) for one in zip(corners, classes.argmax(-1), objectness, likeness)]

    def __repr__(self) -> str:
        return f"Detection({self.box}, {self.label})"
