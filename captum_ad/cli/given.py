"""What --model, --classes and --target say, and what can be told of them before a model is loaded."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torchvision

from captum_ad._common.errors import InputError, UnknownNameError
from captum_ad.cli.checkpoints import check_file, names_of
from captum_ad.cli.own_code import check_source, split_name
from captum_ad.targets.base import Target
from captum_ad.targets.written import written


def check_early(arguments: argparse.Namespace) -> None:
    """Refuse a model, files or a target that cannot be right, without loading the model.

    A target is checked if the names of the classes are known before the model is. All of this is checked again later.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such model, file, class or target.
    """
    check_model_name(arguments.model)
    if arguments.weights is not None:
        check_file(arguments.weights)
    names = _expected_names(arguments)
    text = arguments.target
    if text is None or names is None:
        return
    if is_question(text, names):
        question(text, names)
    elif names and (arguments.classes is None or not text.removeprefix("-").isdecimal()):
        class_index(text, names, len(names))


def check_model_name(name: str) -> None:
    """Refuse a model of which the name alone says that it does not exist.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such model, or the package that has it is not installed.
    """
    source, rest = split_name(name)
    if name == "demo":
        return
    if source == "torchvision" and rest:
        if rest not in torchvision_names():
            raise UnknownNameError("torchvision model", rest, torchvision_names())
    elif source == "timm" and rest:
        try:
            import timm
        except ImportError:
            raise InputError(f"'timm:{rest}' needs timm: pip install timm") from None
        if not timm.is_model(rest):
            raise UnknownNameError("timm model", rest, timm.list_models())
    elif rest:
        check_source(name, "--model")
    elif name.endswith(".py"):
        raise InputError(f"--model {name!r}: which function of the file builds the model? Give {name}:FUNCTION")
    else:
        raise UnknownNameError("model", name, ["demo", *(f"torchvision:{known}" for known in torchvision_names())])


def read_class_names(path: Path) -> list[str]:
    """Read class names from a file: one per line, or a JSON list or mapping (numbers to names, or names to numbers).

    Raises
    ------
    InputError
        If the file cannot be read or has no names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line.strip() for line in text.splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        if path.suffix.lower() != ".json" and "" in lines:
            raise InputError(f"--classes {str(path)!r}: line {lines.index('') + 1} is empty: expected a name per line")
        names = names_of(json.loads(text) if path.suffix.lower() == ".json" else lines)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read --classes {str(path)!r}: {error}") from None
    if not names:
        raise InputError(
            f"--classes {str(path)!r} has no names of classes: expected a name per line, in the order of the model's "
            'outputs, or JSON: ["cat", "dog"] or {"0": "cat", "1": "dog"}'
        )
    return names


def class_index(given: str, names: Sequence[str], classes: int) -> int:
    """The index of the class given by number or name; `classes`: how many the model has.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such class, or several have the name.
    """
    if given.removeprefix("-").isdecimal():
        if not 0 <= int(given) < classes:
            raise InputError(f"--target {given} is out of range: the model has classes 0 to {classes - 1}")
        return int(given)
    if not names:
        raise InputError(
            f"--target {given!r}: the names of the classes are not known: give a number, 0 to {classes - 1}, or "
            "give the names with --classes FILE"
        )
    found = [i for i, name in enumerate(names) if name.casefold() == given.casefold()]
    if len(found) > 1:
        raise InputError(f"--target {given!r}: classes {', '.join(map(str, found))} have this name: give a number")
    if not found:
        raise UnknownNameError("class", given, names)
    return found[0]


def is_question(text: str, names: Sequence[str]) -> bool:
    """Whether a --target is not a class but another target, as Python writes it."""
    return text not in names and re.match(r"\s*\w+\(", text) is not None


def question(text: str, names: Sequence[str]) -> Target:
    """The target that is not a class.

    Raises
    ------
    InputError, UnknownNameError
        If it is not a target, names an unknown class, or does not say when the answer still counts as the same.
    """
    try:
        target = written(text, names or None)
    except UnknownNameError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"--target: {error}") from None
    if not target.decides:
        raise InputError(f"--target {text!r} does not say when the answer still counts as the same: add threshold=")
    return target


def imagenet_names() -> Sequence[str]:
    """The names of ImageNet's 1000 classes."""
    names: Sequence[str] = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    return names


def torchvision_names() -> list[str]:
    """The names of torchvision's classifiers."""
    return list(torchvision.models.list_models(module=torchvision.models))


def _expected_names(arguments: argparse.Namespace) -> Sequence[str] | None:
    """The names of the model's classes, empty if it has none; None if only the loaded model or its weights tell."""
    if arguments.classes is not None:
        return read_class_names(arguments.classes)
    source, rest = split_name(arguments.model)
    if arguments.weights is not None or source == "timm":
        return None
    if arguments.model == "demo":
        return imagenet_names()
    if source == "torchvision":
        names: Sequence[str] = torchvision.models.get_model_weights(rest).DEFAULT.meta["categories"]
        return names
    return ()
