"""Images of other classes as backgrounds: which there are, which there never are, and what drawing them costs."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_ad.metrics import OtherClassImages
from tests.metrics.models import answer, batches, noise, small_net, untouched

ANY = nn.Identity()
SPATIAL = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def drawn(source, x=None, model=ANY, target=0, **options):
    """All backgrounds at once."""
    backgrounds = source.draw(model, torch.zeros(1, 3, 2, 2) if x is None else x, target, **options)
    return backgrounds.batch(0, backgrounds.n)


class Brightness(nn.Module):
    """Class k for images of mean brightness about k, four classes."""

    def forward(self, x):
        return -((x.flatten(1).mean(1, keepdim=True) - torch.arange(4.0)) ** 2)


class Images:
    """Item i is an image filled with `values[i]`, of class `labels[i]`; counts how many were loaded and are in use."""

    def __init__(self, values, labels):
        self.values, self.labels = values, labels
        self.loaded, self.alive, self.peak = [], 0, 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        image = torch.full((1, 2, 2), float(self.values[index]))
        self.loaded.append(index)
        self.alive += 1
        self.peak = max(self.peak, self.alive)
        weakref.finalize(image, self.release)
        return image, self.labels[index]

    def release(self):
        self.alive -= 1


BRIGHT = Brightness().eval()
X = torch.zeros(1, 1, 2, 2)


def named(backgrounds):
    """The brightness of each background."""
    return backgrounds.batch(0, backgrounds.n).flatten(1)[:, 0].tolist()


class TestOtherClassImages:
    """Items are bright by their class (value k) or only said to be of it."""

    @given(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
        st.integers(0, 3),
        st.integers(1, 14),
        st.integers(0, 9),
        st.integers(1, 5),
    )
    def test_are_of_another_class_by_label_and_by_the_model(self, items, target, n, seed, batch_size):
        dataset = Images([value + i / 1000 for i, (value, _) in enumerate(items)], [label for _, label in items])
        left = {i for i, (value, label) in enumerate(items) if target not in (value, label)}
        source = OtherClassImages(dataset, n, seed)
        if not left:
            with pytest.raises(ValueError, match=f"no background is left.*class {target}"):
                source.draw(BRIGHT, X, target, batch_size=batch_size)
            return
        backgrounds = source.draw(BRIGHT, X, target, batch_size=batch_size)
        found = [round(value % 1 * 1000) for value in named(backgrounds)]
        assert set(found) <= left
        assert len(set(found)) == len(found) == backgrounds.n == min(n, len(left))
        called = {i for i, (value, label) in enumerate(items) if value == target != label}
        assert backgrounds.excluded <= len(called)
        if len(left) < n:  # every item was looked at
            assert backgrounds.excluded == len(called)

    @given(st.integers(0, 99), st.integers(1, 10), st.integers(1, 10))
    def test_of_a_larger_number_begin_with_those_of_a_smaller(self, seed, few, more):
        dataset = Images([i / 10 for i in range(40)], [i // 10 for i in range(40)])
        first = OtherClassImages(dataset, few, seed).draw(BRIGHT, X, 1)
        longer = OtherClassImages(dataset, few + more, seed).draw(BRIGHT, X, 1)
        assert named(longer)[:few] == named(first)
        assert longer.excluded >= first.excluded

    @given(st.integers(0, 20), st.integers(1, 12))
    def test_are_the_same_for_any_batch_size(self, seed, n):
        dataset = Images([i % 4 for i in range(30)], [i * 7 % 5 for i in range(30)])
        draws = [OtherClassImages(dataset, n, seed).draw(BRIGHT, X, 2, batch_size=size) for size in (1, 4, 100)]
        assert named(draws[0]) == named(draws[1]) == named(draws[2])
        assert draws[0].excluded == draws[1].excluded == draws[2].excluded

    def test_that_were_passed_over_are_counted(self):
        """Six items of class 1, of which the model calls four class 0, two of class 0, of which it calls one 1."""
        dataset = Images([0, 0, 0, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1, 0, 0])
        backgrounds = OtherClassImages(dataset).draw(BRIGHT, X, 0)
        assert named(backgrounds) == [1, 1]
        assert (backgrounds.n, backgrounds.excluded) == (2, 4)

    def test_of_another_seed_come_in_another_order(self):
        dataset = Images([1 + i / 100 for i in range(50)], [1] * 50)
        first, again, other = (named(OtherClassImages(dataset, 10, seed).draw(BRIGHT, X, 0)) for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_leave_the_global_generators_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        OtherClassImages(Images([1, 2, 3], [1, 2, 3])).draw(BRIGHT, X, 0)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("wrap", [int, torch.tensor, np.int64])
    def test_labels_may_be_numbers_of_any_kind(self, wrap):
        dataset = Images([0, 1, 2], [wrap(label) for label in (0, 1, 2)])
        assert sorted(named(OtherClassImages(dataset).draw(BRIGHT, X, 0))) == [1, 2]

    def test_may_come_in_lists_with_more_than_a_label(self):
        dataset = [[torch.ones(1, 2, 2), 1, "name"], [torch.zeros(1, 2, 2), 0, "name"]]
        assert named(OtherClassImages(dataset).draw(BRIGHT, X, 0)) == [1]

    def test_have_the_type_of_the_input(self):
        backgrounds = OtherClassImages(Images([1, 2], [1, 2])).draw(BRIGHT, X.double(), 0)
        assert backgrounds.batch(0, 2).dtype == torch.float64

    def test_only_images_of_other_classes_go_through_the_model_in_batches(self):
        dataset = Images([1] * 20 + [0] * 20, [1] * 20 + [0] * 20)
        with batches(BRIGHT) as sizes:
            OtherClassImages(dataset, 10).draw(BRIGHT, X, 0, batch_size=4)
        assert sizes == [4, 4, 2]

    @pytest.mark.parametrize("n", [5, 20, 60])
    def test_are_loaded_a_batch_at_a_time(self, n):
        """At most the batch in use and the one that is being loaded, however many there are."""
        dataset = Images([1 + i % 3 for i in range(80)], [1 + i % 3 for i in range(80)])
        backgrounds = OtherClassImages(dataset, n).draw(BRIGHT, X, 0, batch_size=4)
        assert len(dataset.loaded) == n
        for start in range(0, n, 4):
            backgrounds.batch(start, min(start + 4, n))
        assert len(dataset.loaded) == 2 * n
        assert dataset.peak <= 2 * 4 + 1
        assert dataset.alive == 0

    def test_do_not_load_what_is_not_asked_for(self):
        dataset = Images([1] * 1000, [1] * 1000)
        backgrounds = OtherClassImages(dataset, 3).draw(BRIGHT, X, 0, batch_size=50)
        assert len(dataset.loaded) == 3
        assert backgrounds.batch(1, 2).shape == (1, 1, 2, 2)
        assert len(dataset.loaded) == 4

    def test_leave_the_model_as_it_was(self):
        model, x = small_net(0), noise(0, (1, 2, 6, 6)).requires_grad_()
        dataset = [(noise(i, (2, 6, 6)), i % 3) for i in range(9)]
        with untouched(model, x):
            backgrounds = OtherClassImages(dataset).draw(model, x, answer(model, x))
        assert not backgrounds.batch(0, 1).requires_grad

    def test_activations_decide_what_the_model_calls_an_image(self):
        """Upside down, the model calls class 0 what is farthest from 0."""
        dataset = Images([1, 3], [1, 3])
        backgrounds = OtherClassImages(dataset, to_confidence=lambda output: -output).draw(BRIGHT, X, 0)
        assert named(backgrounds) == [1]
        assert backgrounds.excluded == 1

    def test_an_empty_data_set_is_refused(self):
        with pytest.raises(ValueError, match="data set of OtherClassImages is empty"):
            OtherClassImages([])

    @pytest.mark.parametrize("n", [0, 1.5, False])
    def test_a_number_that_is_none_is_refused(self, n):
        with pytest.raises(ValueError, match=f"positive integer, got {n!r}"):
            OtherClassImages(Images([1], [1]), n)

    @pytest.mark.parametrize(
        ("item", "error", "message"),
        [
            (torch.ones(1, 2, 2), TypeError, "item 0 of the data set is Tensor, expected .input, label."),
            ({"image": 1}, TypeError, "item 0 of the data set is dict"),
            ((torch.ones(1, 3, 3), 1), ValueError, r"item 0 .* is \(1, 3, 3\), expected the input's shape \(1, 2, 2\)"),
            ((torch.ones(1, 1, 2, 2), 1), ValueError, r"item 0 .* is \(1, 1, 2, 2\)"),
            ((np.ones((1, 2, 2)), 1), ValueError, "item 0 of the data set is ndarray"),
        ],
    )
    def test_items_that_are_no_inputs_are_refused(self, item, error, message):
        with pytest.raises(error, match=message):
            OtherClassImages([item]).draw(BRIGHT, X, 0)

    def test_a_target_that_the_model_has_not_is_refused(self):
        with pytest.raises(ValueError, match="target 4 is out of range"):
            OtherClassImages(Images([1], [1])).draw(BRIGHT, X, 4)
