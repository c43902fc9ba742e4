"""The knobs and their presets."""

import dataclasses
import itertools
from typing import Any, get_args, get_type_hints

import pytest

from captum_ad import PRESETS, ADForward, MaskRule, UnknownNameError


def test_the_default_is_the_papers() -> None:
    assert MaskRule() == PRESETS["paper"] == MaskRule("window", "union", "all", "zero")


def test_presets_differ_and_can_be_named() -> None:
    assert len(set(PRESETS.values())) == len(PRESETS)
    assert all(MaskRule.named(name) is rule for name, rule in PRESETS.items())


def test_rules_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MaskRule().growth = "none"  # type: ignore[misc]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(MaskRule)])
@pytest.mark.parametrize("value", ["unoin", None, 1, True])
def test_values_that_a_knob_does_not_have_are_refused(field: str, value: object) -> None:
    with pytest.raises(UnknownNameError, match=f"MaskRule.{field}"):
        MaskRule(**{field: value})  # type: ignore[arg-type]


def test_near_names_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'union'"):
        MaskRule(sum="unoin")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean 'no-growth'"):
        MaskRule.named("nogrowth")
    with pytest.raises(UnknownNameError, match="expected one of"):
        MaskRule.named("xyz")


def test_an_adforward_shows_its_rule() -> None:
    import torch

    assert "growth='none'" in repr(ADForward(torch.nn.Conv2d(1, 1, 1).eval(), "no-growth"))


@pytest.mark.parametrize("knobs", list(itertools.product(*map(get_args, get_type_hints(MaskRule).values()))))
def test_every_rule_has_a_name_that_means_it(knobs: tuple[Any, ...]) -> None:
    rule = MaskRule(*knobs)
    assert MaskRule.named(rule.name) == rule


def test_presets_go_by_their_names() -> None:
    assert [rule.name for rule in PRESETS.values()] == list(PRESETS)


@pytest.mark.parametrize("name", [None, 3, MaskRule()])
def test_a_name_is_a_string(name: Any) -> None:
    with pytest.raises(TypeError, match="the name of a rule is a string, got"):
        MaskRule.named(name)


def test_names_of_tables_are_understood() -> None:
    with pytest.raises(ValueError, match="here, write 'no-growth'"):
        MaskRule.named("ad:no-growth")


@pytest.mark.parametrize("name", ["growth=", "growth=none,growth=none", "growth=none,sum"])
def test_badly_written_knobs(name: str) -> None:
    with pytest.raises(ValueError, match="each knob once, as KNOB=VALUE"):
        MaskRule.named(name)


def test_unknown_knobs_are_refused_and_near_ones_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'growth'"):
        MaskRule.named("growht=none")
