"""What operands are to one another."""

from captum_ad._engine.axes import Axes, Role, axis
from captum_ad._engine.merging import is_statistic_of


def test_statistics() -> None:
    sample, channel, place, one = (axis(role, 4) for role in (Role.SAMPLE, Role.CHANNEL, Role.POSITION, Role.STATISTIC))
    maps, pooled, vector = Axes((sample, channel, place, place)), Axes((sample, channel, one, one)), Axes((channel,))
    rows = Axes((sample, channel, place, one))
    assert is_statistic_of(pooled, maps)
    assert is_statistic_of(rows, maps)  # the mean of a row is one value for all of the row
    assert is_statistic_of(vector, Axes((place, place, sample, channel)))
    assert not is_statistic_of(maps, pooled)
    assert not is_statistic_of(maps, maps)
    assert not is_statistic_of(rows, Axes((sample, channel, one, place)))  # rows and columns: two maps
    assert not is_statistic_of(Axes((sample, channel), picks=((Role.POSITION, None),)), maps)
    assert is_statistic_of(Axes((sample, axis(Role.UNKNOWN, 4), one, axis(Role.UNKNOWN, 4))), maps) is None
