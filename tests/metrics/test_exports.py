"""The package's lazy exports: what can be imported, and used, without which optional package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

import captum_ad.metrics
from tests.metrics.modular import CASES, OTHERS


class TestExports:
    def test_everything_that_is_listed_is_there(self):
        exported: dict[str, Any] = {}
        exec("from captum_ad.metrics import *", exported)
        assert set(captum_ad.metrics.__all__) <= set(exported)
        assert len(set(captum_ad.metrics.__all__)) == len(captum_ad.metrics.__all__)

    @pytest.mark.parametrize("name", ["Rho", "modular_", "__wrapped__", "needed_by_nobody"])
    def test_nothing_else_is(self, name):
        assert not hasattr(captum_ad.metrics, name)
        with pytest.raises(AttributeError, match=rf"'captum_ad\.metrics' has no attribute '{name}'"):
            getattr(captum_ad.metrics, name)

    def test_the_classes_are_those_of_the_module(self):
        from captum_ad.metrics import modular

        for name, case in CASES.items():
            assert getattr(captum_ad.metrics, name) is getattr(modular, name) is case.kind


WITHOUT = """
import json, sys

for package in "torchmetrics pandas scipy scipy.stats statsmodels cv2 skimage pyarrow".split():
    sys.modules[package] = None  # as if it were not installed

import torch
import captum_ad.metrics
from captum_ad.baselines import inpaint, linear

outcomes = {}


def outcome(name, function):
    try:
        found = function()
        outcomes[name] = ["", "", found if isinstance(found, (bool, float)) else ""]
    except Exception as error:
        outcomes[name] = [type(error).__name__, str(error), ""]


def from_import():
    from captum_ad.metrics import RhoRobustness


metrics = captum_ad.metrics
for name in sorted({*metrics.__all__, *metrics._CLASSES}):
    outcome(name, lambda: getattr(metrics, name))
    outcome(name + " again", lambda: getattr(metrics, name))
outcome("from import", from_import)
outcome("module", lambda: __import__("captum_ad.metrics.modular"))
outcome("hasattr", lambda: hasattr(metrics, "nothing_of_this_name"))

calls = []
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
model.register_forward_pre_hook(lambda *given: calls.append(1))
x, mask = torch.rand(1, 3, 2, 2), torch.ones(2, 2, dtype=torch.bool)
outcome("call compare", lambda: metrics.compare(model, x, backgrounds={"K1": metrics.SolidColors(n=2)}))
outcome("compare ran the model", lambda: bool(calls))
outcome("call summarize", lambda: metrics.summarize(None))
outcome("call significance", lambda: metrics.significance(None))
outcome("call inpaint", lambda: inpaint(x, mask[None, None]))
outcome("call linear", lambda: linear(x, mask[None, None].triu()))
outcome("call inpaint by name", lambda: metrics.confidence_kept(model, x, ~mask, 0, baseline="inpaint"))
outcome("call superpixels", lambda: metrics.present_masks(x, [0.5], "superpixels"))
outcome("rho", lambda: metrics.rho_robustness(model, x, mask, int(model(x).argmax()), metrics.SolidColors(n=2)).rho)
outcome("missingness", lambda: metrics.missingness_curve(model, x, [0], baseline="zero").area)
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[str, str, Any]]:
    return json.loads(subprocess.check_output([sys.executable, "-c", WITHOUT], text=True))


class TestWithoutOptionalPackages:
    @pytest.mark.parametrize("name", [*CASES, *OTHERS, *(f"{name} again" for name in CASES), "from import", "module"])
    def test_the_classes_say_what_to_install(self, outcomes, name):
        kind, message, _ = outcomes[name]
        assert kind == "ImportError"
        assert message == (
            "this needs torchmetrics: pip install torchmetrics "
            '(or pip install ".[metrics]" in the folder of captum_ad\'s source)'
        )

    @pytest.mark.parametrize("name", sorted(set(captum_ad.metrics.__all__) - {*CASES, *OTHERS}))
    def test_all_else_is_there(self, outcomes, name):
        assert outcomes[name][0] == ""

    @pytest.mark.parametrize(
        ("name", "package", "extra"),
        [
            ("call compare", "pandas", "metrics"),
            ("call summarize", "pandas", "metrics"),
            ("call significance", "(pandas|scipy)", "metrics"),
            ("call inpaint", "opencv-python-headless", "inpaint"),
            ("call inpaint by name", "opencv-python-headless", "inpaint"),
            ("call linear", "scipy", "metrics"),
            ("call superpixels", "scikit-image", "superpixels"),
        ],
    )
    def test_functions_say_what_to_install_when_they_are_called(self, outcomes, name, package, extra):
        kind, message, _ = outcomes[name]
        assert kind == "ImportError"
        assert re.search(rf'needs? {package}: pip install .*"\.\[{extra}\]"', message)

    def test_a_comparison_that_cannot_be_recorded_is_not_begun(self, outcomes):
        assert outcomes["compare ran the model"][2] is False

    def test_names_that_do_not_exist_are_none(self, outcomes):
        assert outcomes["hasattr"] == ["", "", False]

    def test_functions_work_without(self, outcomes):
        assert outcomes["rho"] == ["", "", 1.0]
        assert outcomes["missingness"][0] == ""
        assert 0 <= outcomes["missingness"][2] <= 1
