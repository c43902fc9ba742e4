"""The maps of these tests are small: what is dead is skipped all the same, so that every property covers it."""

from collections.abc import Iterator

import pytest

from captum_ad._engine import kept, parts, rows, select, window_parts


@pytest.fixture(autouse=True, scope="package")
def skip_dead_of_any_size() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (kept, parts, rows, window_parts, select):
            patch.setattr(module, "SMALLEST", 1, raising=False)
            patch.setattr(module, "WORTHWHILE", 0.9)
        yield
