"""Settings of all tests: one thread (small operations only wait for a second), hypothesis without clock or chance."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

torch.set_num_threads(1)
torch.set_printoptions(threshold=20, edgeitems=1)  # what hypothesis prints of a failure
settings.register_profile(
    "captum_ad",
    deadline=None,
    derandomize=True,
    max_examples=50,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("brief", parent=settings.get_profile("captum_ad"), max_examples=15)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "captum_ad"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Commands with an option for it set the number of threads, by which sums round otherwise."""
    torch.set_num_threads(1)
