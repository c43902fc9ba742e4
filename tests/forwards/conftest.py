"""What tests of compiled forwards share."""

from __future__ import annotations

from typing import Any

import pytest
from torch import fx

from captum_ad._engine.recording import recorded


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[fx.GraphModule]:
    """What was recorded, whatever dynamo makes of it."""
    made: list[fx.GraphModule] = []

    def noted(*args: Any) -> fx.GraphModule:
        made.append(recorded(*args))
        return made[-1]

    monkeypatch.setattr("captum_ad._forwards.programs.recorded", noted)
    return made
