"""CausalResponsibility: known answers, invariances, cost, and bad input."""

import itertools
import warnings

import pytest
import torch
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import CausalResponsibility
from tests.attr.models import BY_QUADRANT, NEEDS, QUADRANTS, Quadrants, bright, of_quadrants


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: BaselineForward(m, 0.0)], ids=["plain", "masked"])
def test_responsibilities_worked_out_by_hand(needs, wrap):
    condition, expected = NEEDS[needs]
    found = CausalResponsibility(wrap(Quadrants(condition))).attribute(bright(), target=1, **BY_QUADRANT)
    assert found.shape == (1, 1, 8, 8)
    assert of_quadrants(found) == pytest.approx(expected)


def test_a_network_that_needs_nothing_gives_zero_and_says_so():
    model = Quadrants(lambda q: q[:, 0] | ~q[:, 0])
    with pytest.warns(UserWarning, match="even if everything is hidden"):
        found = CausalResponsibility(model).attribute(bright(), target=1, **BY_QUADRANT)
    assert not found.any()


def test_no_passing_combination_gives_zero_and_says_so():
    model = Quadrants(lambda q: q[:, 0] & ~q[:, 0])
    with pytest.warns(UserWarning, match="no combination"):
        found = CausalResponsibility(model).attribute(bright(), target=1, allow_other_target=True, **BY_QUADRANT)
    assert not found.any()


def test_another_target_may_be_had_by_a_part():
    """The whole is class 0; quadrant A alone is class 1."""
    model = Quadrants(lambda q: q[:, 0] & ~q[:, 1] & ~q[:, 2] & ~q[:, 3])
    with pytest.raises(ValueError, match=r"Class\(1\) is not the network's answer.*allow_other_target"):
        CausalResponsibility(model).attribute(bright(), target=1, **BY_QUADRANT)
    found = CausalResponsibility(model).attribute(bright(), target=1, allow_other_target=True, **BY_QUADRANT)
    assert of_quadrants(found) == [1, 0, 0, 0]


def test_finer_evidence_adds_to_coarser():
    """One pixel decides: every region around it has responsibility 1, so the map is the number of those."""

    class OnePixel(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full((len(x),), 0.5), x[:, 0, 5, 2]], 1)

    found = CausalResponsibility(OnePixel().eval()).attribute(
        bright(), target=1, n_iterations=20, min_region=1, max_forwards=20 * 15 * 8
    )[0, 0]
    assert found.argmax() == 5 * 8 + 2
    assert found[5, 2] > 1  # several levels
    assert found[5, 2] >= found[5, 3] >= found[5, 7]
    assert found[0, 7] < 0.3 * found[5, 2]


def test_it_follows_an_adforward():
    torch.manual_seed(0)
    conv = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)
    )
    conv[4].weight.data = torch.zeros(2, 16)
    conv[4].weight.data[1, ::4] = 5.0  # the first quadrant of every channel
    conv[4].bias.data = torch.tensor([0.2, 0.0])
    ad = ADForward(conv.eval(), "no-growth")
    x = bright()
    assert int(ad(x).argmax()) == 1
    found = CausalResponsibility(ad).attribute(x, target=1, **BY_QUADRANT)
    assert of_quadrants(found) == [1, 0, 0, 0]
    with pytest.raises(ValueError, match="leave them out"):
        CausalResponsibility(ad).attribute(x, baselines=0, target=1)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_batch_size_changes_nothing_but_the_forwards(batch):
    torch.manual_seed(1)
    model = Quadrants(NEEDS["A and B, or C"][0])
    settings = {"n_iterations": 12, "max_forwards": 500, "min_region": 2}
    alone = CausalResponsibility(Quadrants(model.condition)).attribute(bright(), target=1, **settings)
    found = CausalResponsibility(model).attribute(bright(), target=1, perturbations_per_eval=batch, **settings)
    assert torch.equal(found, alone)
    assert max(model.batches) <= batch
    assert sum(model.batches) <= 500 + 2  # the whole and nothing
    if batch == 7:  # what all iterations ask at a time runs together: at most one batch of that is not full
        assert model.batches[2:].count(7) > 0.7 * len(model.batches[2:])


@pytest.mark.parametrize(("needs", "asked"), [("A", 4 + 3 + 1), ("A and B", 4 + 6 + 2), ("everything", 14)])
def test_what_holds_a_minimal_combination_is_not_tried(needs, asked):
    model = Quadrants(NEEDS[needs][0])
    CausalResponsibility(model).attribute(bright(), target=1, **{**BY_QUADRANT, "n_iterations": 1, "max_forwards": 15})
    assert sum(model.batches) == 2 + asked  # the whole and nothing


@pytest.mark.parametrize("budget", [15, 21, 100, 333])
def test_the_budget_is_kept_and_used(budget):
    model = Quadrants(NEEDS["A and B"][0])
    CausalResponsibility(model).attribute(bright(), target=1, n_iterations=6, max_forwards=budget, min_region=1)
    assert budget - 14 < sum(model.batches) - 2 <= budget


def test_iterations_that_the_budget_does_not_reach_are_left_out():
    model = Quadrants(NEEDS["A"][0])
    few, one = (
        CausalResponsibility(model).attribute(bright(), target=1, n_iterations=n, max_forwards=15, min_region=1)
        for n in (9, 1)
    )
    assert torch.equal(few, one)


def test_the_first_partition_of_all_iterations_comes_before_any_second():
    """On one pixel that decides, a first partition gives 1 where it is, a second 2."""

    class OnePixel(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full((len(x),), 0.5), x[:, 0, 5, 2]], 1)

    highest = [
        float(
            CausalResponsibility(OnePixel().eval())
            .attribute(bright(), target=1, n_iterations=10, min_region=1, max_forwards=budget)
            .max()
        )
        for budget in (80 + 13, 160 + 13)
    ]
    assert highest == pytest.approx([1, 2], abs=0.3)


def test_seeds():
    model = Quadrants(NEEDS["A and B"][0])
    one, same, other = (
        CausalResponsibility(model).attribute(
            bright(), target=1, n_iterations=2, max_forwards=90, min_region=2, seed=seed
        )
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_samples_of_a_batch_are_explained_alone():
    model = Quadrants(NEEDS["A"][0])
    only_a = bright() * (QUADRANTS == 0)
    settings = {"n_iterations": 2, "max_forwards": 200, "min_region": 2}
    found = CausalResponsibility(model).attribute(torch.cat([bright(), only_a]), target=[1, 1], **settings)
    for one, x in zip(found, (bright(), only_a)):
        assert torch.equal(one[None], CausalResponsibility(model).attribute(x, target=1, **settings))


def test_equal_mutants_run_once():
    class Seen(Quadrants):
        def forward(self, x):
            self.masks = [*getattr(self, "masks", []), *(tuple(one.flatten().tolist()) for one in x)]
            return super().forward(x)

    model = Seen(NEEDS["A and B and C"][0])
    CausalResponsibility(model).attribute(bright(), target=1, n_iterations=1, max_forwards=400, min_region=1)
    searched = model.masks[2:]
    assert len(searched) > 60
    assert len(set(searched)) == len(searched)


def test_gamma_asks_for_confidence():
    class Soft(nn.Module):
        """Class 1 by A, and surer by B."""

        def forward(self, x):
            a, b = x[:, 0, :4, :4].mean((1, 2)), x[:, 0, :4, 4:].mean((1, 2))
            return torch.stack([torch.zeros(len(x)), 3 * a + 2 * b - 1], 1)

    settings = {**BY_QUADRANT, "target": 1}
    kept = CausalResponsibility(Soft().eval()).attribute(bright(), **settings)
    assert of_quadrants(kept) == [1, 1, 0, 0]  # either is enough for the class
    sure = CausalResponsibility(Soft().eval()).attribute(bright(), gamma=0.9, **settings)
    assert of_quadrants(sure) == [1 / 2, 1 / 2, 0, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": torch.ones(4)}, r"\(N, C, \*spatial\) or \(N, T\)"),
        ({"inputs": torch.ones(1, 1, 8, 8, dtype=torch.bool)}, "tensor of numbers"),
        ({"min_region": 64}, "min_region=64 must be smaller"),
        ({"min_region": 0}, "min_region must be"),
        ({"max_forwards": 14}, "at least 15"),
        ({"gamma": 1.5}, "gamma must be"),
        ({"target": None}, "give target="),
        ({"target": [1, 1]}, "2 targets for 1"),
        ({"target": 2}, "out of range"),
        ({"feature_mask": torch.zeros(4, 4, dtype=torch.int64)}, "expected"),
        ({"feature_mask": torch.zeros(8, 8)}, "integer labels"),
        ({"baselines": torch.zeros(1, 1, 4, 4)}, "do not broadcast"),
        ({"baselines": "zero"}, "number or a tensor"),
        ({"perturbations_per_eval": 0}, "at least 1"),
    ],
)
def test_bad_input(given, message):
    call = {"inputs": bright(), "target": 1, "min_region": 1, **given}
    with pytest.raises((ValueError, TypeError), match=message):
        CausalResponsibility(Quadrants(NEEDS["A"][0])).attribute(**call)


def test_no_warning_without_cause():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CausalResponsibility(Quadrants(NEEDS["A"][0])).attribute(bright(), target=1, **BY_QUADRANT)


def test_every_combination_of_needs_is_found():
    """Every monotone condition on four quadrants that needs something: responsibilities from its minimal sets."""
    subsets = [frozenset(c) for size in range(1, 5) for c in itertools.combinations(range(4), size)]
    antichains = [
        chain
        for size in (1, 2, 3)
        for chain in itertools.combinations(subsets, size)
        if not any(a < b or b < a for a, b in itertools.combinations(chain, 2))
    ]
    assert len(antichains) > 80
    for chain in antichains[::3]:

        def condition(q, chain=chain):
            return torch.stack([q[:, sorted(needed)].all(1) for needed in chain]).any(0)

        expected = [max((1 / len(s) for s in chain if part in s), default=0) for part in range(4)]
        settings = {**BY_QUADRANT, "n_iterations": 1, "max_forwards": 15}
        found = CausalResponsibility(Quadrants(condition)).attribute(
            bright(), target=1, perturbations_per_eval=16, **settings
        )
        assert of_quadrants(found) == pytest.approx(expected), chain
