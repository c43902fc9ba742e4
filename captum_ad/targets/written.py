"""Parse targets that are written as text, on a command line."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from captum_ad._common.errors import UnknownNameError
from captum_ad.targets.base import Target
from captum_ad.targets.classes import Binary, Class, MultiLabel, Names
from captum_ad.targets.detection import Detection
from captum_ad.targets.groups import Contrast, Group
from captum_ad.targets.region import Region
from captum_ad.targets.values import Reconstruction, Regression

KINDS: dict[str, type[Target]] = {
    kind.__name__: kind
    for kind in (Binary, Class, Contrast, Detection, Group, MultiLabel, Reconstruction, Region, Regression)
}
"""Targets whose arguments can be written as literals."""


def written(text: str, names: Names | None = None) -> Target:
    """Parse a target from its constructor call. Nothing else in the text is evaluated.

    Parameters
    ----------
    text : str
        E.g. ``"Contrast(967, 968)"``. Arguments are numbers, strings, lists, and other targets.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes. The text may use them instead of class indices.

    Raises
    ------
    UnknownNameError
        If the target or the class is unknown.
    TypeError, ValueError
        If the text is not a call, or its arguments are invalid.

    Examples
    --------
    >>> written("Contrast('cat', Group(['dog', 'fox']))", names=["dog", "cat", "fox"])
    Contrast(1, Group([0, 2]))
    """
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not a target as Python writes it, like Contrast(967, 968): {error}") from None
    if not isinstance(parsed, ast.Call):
        raise ValueError(f"{text!r} is not a target as Python writes it, like Contrast(967, 968)")
    target: Target = _value(parsed, names)
    return target


def _value(node: ast.expr, names: Names | None) -> Any:
    if not isinstance(node, ast.Call):
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError):
            raise ValueError(f"{ast.unparse(node)} is not a number, a string, a list, or a target") from None
    name = ast.unparse(node.func)
    if name not in KINDS:
        raise UnknownNameError("target", name, KINDS)
    kind = KINDS[name]
    if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(one, ast.Starred) for one in node.args):
        raise ValueError(f"{ast.unparse(node)} contains * or **: write the arguments out")
    given = {keyword.arg: _value(keyword.value, names) for keyword in node.keywords if keyword.arg}
    if names and "names" in inspect.signature(kind).parameters:
        given.setdefault("names", names)
    return kind(*(_value(argument, names) for argument in node.args), **given)
