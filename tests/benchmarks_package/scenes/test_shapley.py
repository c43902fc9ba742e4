"""Shapley values of the parts."""

from __future__ import annotations

import itertools

import pytest
import torch

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.benchmarks.scenes import (
    PARTS,
    PresenceForward,
    draw,
    exact_shapley,
    hidden_pixels,
    load_network,
    normalized,
    right_scenes,
    scene,
    shapley_truth,
)
from captum_ad.benchmarks.scenes.shapley import ATTRIBUTORS, SHAPLEY, subsets
from tests.benchmarks_package.scenes.known import reader_of


def by_definition(values):
    """The mean over all orders in which the parts can join."""
    index = {tuple(flags): i for i, flags in enumerate(subsets().tolist())}
    total = torch.zeros(5, dtype=torch.float64)
    for order in itertools.permutations(range(5)):
        there = [False] * 5
        for part in order:
            before = values[index[tuple(there)]]
            there[part] = True
            total[part] += values[index[tuple(there)]] - before
    return total / 120


def test_exact_values_are_the_mean_over_all_orders():
    values = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(exact_shapley(values), by_definition(values))
    assert exact_shapley(values).sum() == pytest.approx(float(values[-1] - values[0]))


class TestShapleyTruth:
    @pytest.fixture(scope="class")
    @staticmethod
    def measured():
        trained = load_network("residual")
        scenes = right_scenes(trained.model, 3, classes_seed=trained.seed)
        found = shapley_truth(trained.model, scenes, ["ad:no-growth", "avg"], n_samples=200)
        return trained.model, scenes, found

    def test_they_add_up(self, measured):
        model, scenes, found = measured
        for i, one in enumerate(scenes):
            full, empty = (model(normalized(draw(one, [there] * 5))[None])[0, one.label] for there in (True, False))
            assert found.true[i].sum() == pytest.approx(float(full - empty), abs=1e-3)
            x, hidden = normalized(draw(one))[None], hidden_pixels(one).any(0)
            for masking in ("ad:no-growth", "avg"):
                none = masked_forward(model, masking)(x, mask=~hidden)[0, one.label]
                for attributor in ("exact", "shapley_values", "kernel_shap"):
                    total = float(found.found[attributor, masking][i].sum())
                    assert total == pytest.approx(float(full - none), abs=2e-2)

    def test_captums_values_are_exact(self, measured):
        found = measured[2].found
        for masking in ("ad:no-growth", "avg"):
            assert torch.allclose(found["shapley_values", masking], found["exact", masking], atol=1e-3)
            near = (found["kernel_shap", masking] - found["exact", masking]).norm()
            assert near < 0.2 * found["exact", masking].norm()

    def test_the_table_has_no_error_where_scales_differ(self, measured):
        table = measured[2].table()
        assert set(table["attributor"]) == set(ATTRIBUTORS)
        assert set(table[table["measure"] == "error"]["attributor"]) == set(SHAPLEY)
        with pytest.raises(ValueError, match="unknown measure of lime 'error'"):
            measured[2].estimate("error", "lime", "avg")

    def test_bad_input(self):
        model = reader_of(scene(0), 0)
        with pytest.raises(ValueError, match="unknown attributor 'lyme': did you mean 'lime'"):
            shapley_truth(model, [scene(0)], ["avg"], ["lyme"])
        with pytest.raises(ValueError, match="scenes is empty"):
            shapley_truth(model, [], ["avg"])


class TestPresenceForward:
    def test_each_subset_runs_once(self):
        one, runs = scene(1), []
        model = reader_of(one, 0)
        model.register_forward_hook(lambda *given: runs.append(len(given[2])))
        x, hidden = normalized(draw(one))[None], hidden_pixels(one)
        presence = PresenceForward(masked_forward(model, "zero"), x, hidden)
        first = presence(subsets().float())
        assert torch.equal(presence(subsets().float().flip(0)), first.flip(0))
        assert sum(runs) == 2 ** len(PARTS)
        kept = ~(hidden[1] | hidden[4])
        alone = masked_forward(model, "zero")(x, mask=kept)
        assert torch.allclose(presence(torch.tensor([[1.0, 0, 1, 1, 0]])), alone, atol=1e-5)

    def test_a_part_is_there_or_not(self):
        one = scene(1)
        presence = PresenceForward(
            masked_forward(reader_of(one, 0), "zero"), normalized(draw(one))[None], hidden_pixels(one)
        )
        with pytest.raises(ValueError, match=r"expected 1 \(present\) or 0"):
            presence(torch.full((1, 5), 0.5))


def test_all_parts_left_out_is_the_empty_scene():
    one = scene(6)
    assert torch.equal(draw(one, subsets())[0], draw(one, [False] * 5))
