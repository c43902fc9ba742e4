"""The maps of these tests are small: what is dead is skipped all the same, so that every property covers it."""

from collections.abc import Iterator

import pytest

from captum_ad.engine import context


@pytest.fixture(autouse=True, scope="session")
def skip_dead_of_any_size() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "SMALLEST", 1)
        patch.setattr(context, "WORTHWHILE", 0.9)
        yield
