"""The result of trying maskings on a network: a table, the winner, and a sentence that recommends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import Masking
from captum_ad.metrics.masking_names import DEFAULT, UNMASKED
from captum_ad.metrics.recommendation_plot import plot_recommendation
from captum_ad.metrics.recommendation_statistics import DECIMALS, LEAST, beaten, bootstrapped
from captum_ad.metrics.recommendation_text import call, interval, listed, number
from captum_ad.metrics.statistics import is_ad

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHOLE = "whole"
MIDDLE = "middle 25 %"
ALONE, HIDDEN, CONTROL = "object alone", "object hidden", "control hidden"
SCORE = "score"
SPECIFIC = "hidden, object - control"


def there(share: float) -> str:
    """The name of the test that keeps a given fraction of the patches.

    Examples
    --------
    >>> there(0.75)
    '75 % there'
    """
    return f"{100 * share:g} % there"


@dataclass(frozen=True, eq=False, repr=False)
class Recommendation:
    """How much missing parts disturb a network under each masking, and which masking disturbs it least.

    Attributes
    ----------
    records : DataFrame
        One row per photograph, masking and test, in that order; misclassified photographs have only the first row.

        - ``image``: str, the photograph. ``target``: int, its class.
        - ``masking``: str; ``"none"`` for the test ``"whole"``, the photograph as it is.
        - ``test``: str, ``"whole"``, ``"75 % there"`` …, ``"middle 25 %"``, ``"object alone"``, ``"object hidden"``,
          ``"control hidden"``.
        - ``kept``: bool, whether the class is the answer. ``confidence``: float, of the class.
        - ``run``, ``input``: str, digests of the settings and weights; of the image, its class, box and masking.
    maskings : mapping
        The maskings that were tried, by name.
    shares : tuple of float
        Fractions of the patches that were kept.
    labeled : bool
        Whether classes were given; otherwise they are the network's predictions.
    seed : int
        Random seed of the masks and of the bootstrap.
    """

    records: pd.DataFrame
    maskings: Mapping[str, Masking]
    shares: tuple[float, ...]
    labeled: bool
    seed: int

    def __str__(self) -> str:
        """The table, notes on it, and the recommendation."""
        return f"{self.markdown()}\n\n{self.notes}\n\n{self.sentence}"

    @cached_property
    def count(self) -> int:
        """The number of photographs used: those that the network classifies correctly when whole."""
        return int(self._whole["kept"].sum())

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The score of each photograph (rows, by name) under each masking (columns), 0 to 1."""
        tests = [*map(there, self.shares), *([ALONE] if self._has(ALONE) else [])]
        total = sum(self._values(test, "kept") for test in tests[1:]) + self._values(tests[0], "kept")
        return total / len(tests)

    @property
    def ranking(self) -> list[str]:
        """The maskings by score, highest first; ties in the given order."""
        means = self.scores.mean().round(DECIMALS)
        return sorted(self.maskings, key=lambda masking: -means[masking])

    @property
    def best(self) -> str:
        """The name of the masking with the highest score, even if the difference is not significant; see `clear`."""
        return self.ranking[0]

    @cached_property
    def rivals(self) -> list[str]:
        """The maskings that are not significantly worse than the best one.

        By a 95 % bootstrap interval or a Wilcoxon signed-rank test, at 5 % after Holm's correction for all others,
        their scores do not differ from its scores. With fewer than
        :data:`~captum_ad.metrics.recommendation_statistics.LEAST` photographs, these are all other maskings.
        """
        others = self.ranking[1:]
        beats = self._beaten([(self.best, other) for other in others])
        return [other for other, beat in zip(others, beats) if not beat]

    @property
    def clear(self) -> bool:
        """Whether the best masking is significantly better than every other one."""
        return not self.rivals

    @property
    def reference(self) -> str:
        """The reference of differences: the baseline with the highest score, or the best masking if there is none."""
        return next((masking for masking in self.ranking if not is_ad(masking)), self.best)

    @cached_property
    def sentence(self) -> str:
        """Which masking to use, or why there is no recommendation."""
        means = self.scores.mean()
        first, second = self.ranking[:2]
        if self.count < LEAST:
            photographs = "one photograph" if self.count == 1 else f"{self.count} photographs"
            ahead = (
                f"{first} is ahead with a score of {number(means[first])}, then {second} with {number(means[second])}"
            )
            if means.round(DECIMALS).nunique() == 1:
                ahead = f"all maskings score {number(means[first])}"
            return f"No recommendation from {photographs}, it takes {LEAST} at least: {ahead}."
        if not self.clear:
            near = [first, *self.rivals]
            scores = f"scores {number(means[near].max())} to {number(means[near].min())}, {self.count} photographs"
            paint, better = self.reference, ""
            if is_ad(first) and not is_ad(paint) and all(self._beaten([(one, paint) for one in near])):
                better = f" All of them are better than the best paint ({paint}, {number(means[paint])})."
            use = "keep the default, ADForward(model)"
            if DEFAULT not in near:
                use = f"take {call(first, self.maskings[first])}"
            return (
                f"No clear winner: {listed(near)} are within noise ({scores}).{better} Try more photographs, or {use}."
            )
        side = [masking for masking in self.ranking[1:] if is_ad(masking) != is_ad(first)]
        other, role = (side[0], "best paint" if is_ad(first) else "best AD rule") if side else (second, "runner-up")
        share = min(self.shares, key=lambda level: abs(level - 0.5))
        kept = self._values(there(share), "kept").mean()
        part = "half" if share == 0.5 else f"{100 * (1 - share):g} %"
        seen = ""
        if self._still_shows(first):
            seen = (
                f" But hiding the object under {first} changes the confidence no more than hiding the control: the "
                "network still sees what is hidden, or does not look at the object."
            )
        return (
            f"Use {call(first, self.maskings[first])}: with {part} of the patches missing it keeps the class on "
            f"{100 * kept[first]:.0f} % of the photographs, the {role} ({other}) on {100 * kept[other]:.0f} %; their "
            f"scores are {number(means[first])} and {number(means[other])} on {self.count} photographs.{seen}"
        )

    @property
    def notes(self) -> str:
        """Sentences about how the table was computed."""
        given = len(self._whole)
        classes = "the classes are those given" if self.labeled else "the classes are the network's own answers"
        lines = [f"The network is right on {self.count} of {given} whole photographs ({classes}); only these count."]
        tests = "the scattered shares" + (" and the object alone" if self._has(ALONE) else "")
        lines.append(f"Score: how often the class is kept, the mean over {tests}.")
        bracket = "In brackets: 95 % bootstrap intervals over photographs."
        lines.append(bracket if self.count > 1 else "One photograph gives no intervals.")
        if not is_ad(self.reference):
            lines.append("The best paint was chosen on these photographs, which favors it.")
        if any(isinstance(masking, str) and masking == "blur" for masking in self.maskings.values()):
            lines.append("Blur still shows something of what it hides, which makes it look better than it is.")
        if self._has(HIDDEN):
            off = self._values(CONTROL, "kept").shape[0] if self._has(CONTROL) else 0
            lines.append(
                "Hidden: the change of the class's confidence, large for the object and small for the control, as "
                f"large a box off the object; {off} of {self.count} photographs have room for it, and of these, "
                "paired, is the difference of the two."
            )
        return " ".join(lines)

    def table(self) -> pd.DataFrame:
        """All numbers, with intervals.

        Returns
        -------
        DataFrame
            One row per masking (the best first), test and value:

            - ``masking``, ``test``: str; the first test is ``"score"``, and with boxes the last ``"hidden, object -
              control"``, over the photographs that have both.
            - ``value``: str, ``"kept"`` (a fraction), ``"confidence"``, or ``"change"`` (of confidence vs. the whole).
            - ``n``: int, number of photographs. ``mean``, ``low``, ``high``: float, the mean and its 95 % percentile
              bootstrap interval.
            - ``reference``: str, see :attr:`reference`. ``difference``, ``difference_low``, ``difference_high``: float,
              the mean of masking minus reference, paired by photograph, and its interval; NaN for the reference itself.

            An interval of equal values has zero width, however few there are; that of a single value is NaN.
        """
        return self._table.copy()

    def markdown(self) -> str:
        """The table in Markdown: a row per masking, the best first; a column per test."""
        rows = cast("list[dict[str, Any]]", self._table.to_dict("records"))
        numbers = {(row["masking"], row["test"], row["value"]): row for row in rows}
        columns = [(SCORE, "kept", "score")]
        columns += [(test, "kept", test) for test in (*map(there, self.shares), MIDDLE, ALONE) if self._has(test)]
        if self._has(ALONE):
            columns.append((ALONE, "confidence", "its confidence"))
        columns += [(test, "change", test) for test in (HIDDEN, CONTROL) if self._has(test)]
        if self._has(CONTROL):
            columns.append((SPECIFIC, "change", "object − control"))
        against = "against the best paint" if not is_ad(self.reference) else "against the best"
        lines = [["", *(title for *_, title in columns), f"{against} ({self.reference})"]]
        lines.append(["---"] * len(lines[0]))
        for masking in self.ranking:
            cells = []
            for test, value, _ in columns:
                row = numbers[masking, test, value]
                signed = value == "change"
                cell = number(row["mean"], signed=signed)
                spread = interval(row["low"], row["high"], signed=signed) if test in (SCORE, SPECIFIC) else ""
                cells.append(cell + spread)
            row = numbers[masking, SCORE, "kept"]
            spread = interval(row["difference_low"], row["difference_high"], signed=True)
            difference = number(row["difference"], signed=True) + spread
            lines.append([masking, *cells, "" if masking == self.reference else difference])
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def plot(
        self, *, plt_fig_axis: tuple[Figure, Sequence[Axes]] | None = None, use_pyplot: bool = True
    ) -> tuple[Figure, Any]:
        """Plot a panel per test and a row per masking: dots are means, lines their intervals.

        See :func:`~captum_ad.metrics.recommendation_plot.plot_recommendation`.
        """
        return plot_recommendation(self, plt_fig_axis=plt_fig_axis, use_pyplot=use_pyplot)

    @cached_property
    def _whole(self) -> pd.DataFrame:
        rows = self.records[self.records["masking"] == UNMASKED]
        return rows.set_index("image")

    def _has(self, test: str) -> bool:
        return bool((self.records["test"] == test).any())

    def _values(self, test: str, value: str) -> pd.DataFrame:
        """The values of a test, as floats by photograph (rows) and masking (columns)."""
        rows = self.records[self.records["test"] == test]
        frame = rows.pivot(index="image", columns="masking", values="confidence" if value == "change" else value)
        frame = frame[list(self.maskings)].astype(float)
        return frame.sub(self._whole["confidence"].loc[frame.index], axis=0) if value == "change" else frame

    def _difference(self, frame: pd.DataFrame, one: str, other: str, key: tuple[str, str]) -> dict[str, float]:
        return bootstrapped(frame[one] - frame[other], self.seed, self._key(one, other, key))

    @staticmethod
    def _key(one: str, other: str, of: tuple[str, str]) -> dict[str, Any]:
        return {"of": of, "masking": one, "reference": other}

    def _beaten(self, pairs: list[tuple[str, str]]) -> list[bool]:
        keys = [self._key(one, other, (SCORE, "kept")) for one, other in pairs]
        return beaten(self.scores, pairs, self.seed, keys)

    def _still_shows(self, masking: str) -> bool:
        """Whether hiding the object changes no more than hiding the control; False with too few photographs."""
        rows = self._table[(self._table["test"] == SPECIFIC) & (self._table["masking"] == masking)]
        return bool(((rows["n"] >= LEAST) & (rows["high"] >= 0)).any())

    @cached_property
    def _table(self) -> pd.DataFrame:
        frames = {(SCORE, "kept"): self.scores}
        for test in dict.fromkeys(self.records["test"]):
            if test != WHOLE:
                values = ("kept", "confidence", "change") if test in (HIDDEN, CONTROL) else ("kept", "confidence")
                frames |= {(test, value): self._values(test, value) for value in values}
        if self._has(CONTROL):
            control = frames[CONTROL, "change"]
            frames[SPECIFIC, "change"] = frames[HIDDEN, "change"].loc[control.index] - control
        rows = []
        for masking in self.ranking:
            for (test, value), frame in frames.items():
                own = bootstrapped(frame[masking], self.seed, {"of": (test, value), "masking": masking})
                row = {"masking": masking, "test": test, "value": value, **own, "reference": self.reference}
                paired = {"mean": np.nan, "low": np.nan, "high": np.nan}
                if masking != self.reference:
                    paired = self._difference(frame, masking, self.reference, (test, value))
                row |= {
                    "difference": paired["mean"],
                    "difference_low": paired["low"],
                    "difference_high": paired["high"],
                }
                rows.append(row)
        return cast("pd.DataFrame", needed("pandas", "pandas", "metrics").DataFrame(rows))
