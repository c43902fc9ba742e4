"""An ADForward's settings, what it picks of outputs, and what it says to bad ones."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captum_ad import PRESETS, ADForward, BaselineForward, MaskRule, UnknownNameError
from tests.forwards.ad_forward.networks import Classifier, half
from tests.networks import Apply

OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor], str | int]] = {
    "dict": (lambda out: {"out": out, "aux": out + 1}, lambda output: output["out"], "out"),
    "namespace": (lambda out: SimpleNamespace(logits=out), lambda output: output.logits, "logits"),
    "tuple": (lambda out: (out + 1, out), lambda output: output[1], 1),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_are_selected(x: Tensor, kind: str) -> None:
    wrap, select, part = OUTPUTS[kind]

    plain = ADForward(Classifier().eval())
    wrapping = Apply(lambda x, model: wrap(model(x)), plain.model).eval()
    ad = ADForward(wrapping, select=select)
    assert torch.equal(ad(x), plain(x))
    assert torch.equal(ad(x, mask=half()), plain(x, mask=half()))
    assert torch.equal(ADForward(wrapping, select=part)(x, mask=half()), plain(x, mask=half()))
    for mask in (None, half()):
        if kind == "tuple":
            with pytest.raises(TypeError, match=r"returned tuple, .*select="):
                ADForward(wrapping)(x, mask=mask)
        else:
            assert torch.equal(ADForward(wrapping)(x, mask=mask), plain(x, mask=mask))
        with pytest.raises(TypeError, match=r"returned str, .*select="):
            ADForward(wrapping, select=lambda output: "out")(x, mask=mask)
        with pytest.raises(TypeError, match="no such part"):
            ADForward(wrapping, select="nowhere")(x, mask=mask)


@pytest.mark.parametrize("tau", [1, 1.0, -0.1, math.nan, math.inf, -math.inf, "0", None, True, torch.tensor(0.5)])
def test_tau_out_of_range(tau: Any) -> None:
    with pytest.raises(ValueError, match="0 <= tau < 1"):
        ADForward(Classifier(), tau=tau)


def test_unknown_rules_come_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"'no-grwth'.*did you mean 'no-growth'"):
        ADForward(Classifier(), "no-grwth")
    with pytest.raises(ValueError, match=r"expected one of.*paper"):
        ADForward(Classifier(), "xyz")
    with pytest.raises(UnknownNameError, match=r"MaskRule.growth 'windows': did you mean 'window'"):
        MaskRule(growth="windows")
    with pytest.raises(TypeError, match="preset's name or a MaskRule"):
        ADForward(Classifier(), {"growth": "none"})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_name(x: Tensor, name: str) -> None:
    model = Classifier().eval()
    assert ADForward(model, name).rule == PRESETS[name]
    assert torch.equal(ADForward(model, name)(x, mask=half()), ADForward(model, PRESETS[name])(x, mask=half()))


def test_presets_differ(x: Tensor) -> None:
    skip = Apply(lambda x: x + F.avg_pool2d(x, 3, 1, 1)).eval()  # a sum of two masks
    model = nn.Sequential(skip, Classifier()).eval()
    outputs = [ADForward(model, name)(x, mask=half()) for name in PRESETS]
    assert not any(torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


@pytest.mark.parametrize("model", [torch.relu, None, "resnet50", Classifier])
def test_models_that_are_no_modules(model: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        ADForward(model)


def test_wrapping_twice_and_bad_select() -> None:
    with pytest.raises(TypeError, match="already a BaselineForward"):
        ADForward(BaselineForward(Classifier(), 0))
    with pytest.raises(TypeError, match="already an ADForward"):
        ADForward(ADForward(Classifier()))
    with pytest.raises(TypeError, match="select must be a name, an index or a function"):
        ADForward(Classifier(), select=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"e.g. Class\(3\), got int"):
        ADForward(Classifier(), target=3)  # type: ignore[arg-type]


def test_train_mode_warns_once(x: Tensor) -> None:
    ad = ADForward(Classifier().train())
    with pytest.warns(UserWarning, match=r"Classifier is in train mode.*eval\(\)"):
        ad(x, mask=half())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ad(x, mask=half())
        ADForward(Classifier().eval())(x, mask=half())


def test_copies_and_pickles(ad: ADForward, x: Tensor) -> None:
    expected = ad(x, mask=half())
    for twin in (copy.deepcopy(ad), pickle.loads(pickle.dumps(ad))):
        assert twin.model is not ad.model
        assert torch.equal(twin(x, mask=half()), expected)
        assert (twin.rule, twin.tau) == (ad.rule, ad.tau)


def test_parameters_are_the_models(ad: ADForward) -> None:
    assert {id(p) for p in ad.parameters()} == {id(p) for p in ad.model.parameters()}
    assert "MaskRule" in repr(ad)
