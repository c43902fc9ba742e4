"""A recommendation that is interrupted, and what is refused before anything runs."""

import pandas as pd
import pytest
import torch

from captum_ad import UnknownNameError
from captum_ad.metrics import recommend_rule
from captum_ad.metrics.recommendation import NoneRightError
from captum_ad.metrics.records import read_records, write_records
from tests.metrics.models import batches
from tests.metrics.recommendation import BRIGHT, CENTER, GIVEN, brightness, mean_of


@pytest.mark.filterwarnings("ignore:The 'float_precision' argument is deprecated")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
class TestFile:
    def test_an_interrupted_run_ends_with_the_same_file(self, suffix, tmp_path):
        whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
        model = mean_of(CENTER)
        expected = recommend_rule(model, BRIGHT, path=whole, **GIVEN)

        def stop(module, inputs):
            stop.left -= 1
            if stop.left < 0:
                raise KeyboardInterrupt

        stop.left = 3 * 3 + 2
        handle = model.register_forward_pre_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            recommend_rule(model, BRIGHT, path=part, **GIVEN)
        handle.remove()
        with batches(model) as sizes:
            found = recommend_rule(model, BRIGHT, path=part, **GIVEN)
        assert len(sizes) == 5 * 3
        pd.testing.assert_frame_equal(found.records, expected.records)
        assert part.read_bytes() == whole.read_bytes()
        assert sorted(tmp_path.iterdir()) == [part, whole]
        with batches(model) as sizes:
            again = recommend_rule(model, BRIGHT, path=part, **GIVEN)
        assert not sizes
        assert again.sentence == expected.sentence
        assert part.read_bytes() == whole.read_bytes()

    def test_what_is_new_is_added(self, suffix, tmp_path):
        path, model = tmp_path / f"records{suffix}", mean_of(CENTER)
        recommend_rule(model, BRIGHT, path=path, maskings=["ad:paper", "zero"])
        with batches(model) as sizes:
            recommend_rule(model, BRIGHT, path=path, maskings=["zero", "avg"])
        assert sizes == [4] * 8
        with batches(model) as sizes:
            recommend_rule(model, BRIGHT, path=path, maskings=["ad:paper", "avg", "zero"])
        assert not sizes

    def test_records_of_other_settings_are_refused(self, suffix, tmp_path):
        path, model = tmp_path / f"records{suffix}", mean_of(CENTER)
        recommend_rule(model, BRIGHT, path=path, maskings=["ad:paper", "zero"])
        for other in ({"seed": 1}, {"patch": 2}, {"shares": (0.5,)}, {"to_confidence": "sigmoid"}):
            with pytest.raises(ValueError, match="has records of other settings"):
                recommend_rule(model, BRIGHT, path=path, maskings=["ad:paper", "zero"], **other)
        with pytest.raises(ValueError, match="has records of other settings"):
            recommend_rule(brightness(), BRIGHT, path=path, maskings=["ad:paper", "zero"])

    def test_a_table_of_something_else_is_left_alone(self, suffix, tmp_path):
        path = tmp_path / f"mine{suffix}"
        write_records(pd.DataFrame({"file": ["cat.jpg"], "index": [281]}), path)
        with pytest.raises(ValueError, match=r"has no records of a recommendation.*got file, index: choose another"):
            recommend_rule(brightness(), BRIGHT, path=path, maskings=["ad:paper", "zero"])
        assert list(read_records(path)["file"]) == ["cat.jpg"]


DAMAGES = {
    "no boolean": lambda records: records.assign(kept=["maybe", *records["kept"][1:]]),
    "no boolean in a masked row": lambda records: records.assign(kept=[*records["kept"][:4], 2, *records["kept"][5:]]),
    "kept is empty": lambda records: records.assign(kept=[*records["kept"][:4], None, *records["kept"][5:]]),
    "all of kept is empty": lambda records: records.assign(kept=None),
    "confidence is empty": lambda records: records.assign(confidence=[None, *records["confidence"][1:]]),
    "confidence is infinite": lambda records: records.assign(confidence=float("inf")),
    "confidence is a word": lambda records: records.assign(confidence="high"),
    "another class": lambda records: records.assign(target=[*records["target"][:4], 0, *records["target"][5:]]),
    "no class": lambda records: records.assign(target=None),
    "tests renamed": lambda records: records.assign(test="whole"),
    "a test renamed": lambda records: records.assign(test=records["test"].replace("50 % there", "51 % there")),
    "a test twice": lambda records: records.assign(test=records["test"].replace("50 % there", "75 % there")),
    "a row twice": lambda records: pd.concat([records, records.iloc[5:6]]),
    "a row is missing": lambda records: records.drop(index=5),
    "rows in another order": lambda records: records.sample(frac=1, random_state=0),
    "the header alone": lambda records: records.iloc[:0],
}


@pytest.mark.filterwarnings("ignore:The 'float_precision' argument is deprecated")
@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_computed_again(damage, tmp_path):
    path, model = tmp_path / "records.csv", mean_of(CENTER)
    expected = recommend_rule(model, BRIGHT, path=path, **GIVEN)
    before = path.read_bytes()
    DAMAGES[damage](pd.read_csv(path)).to_csv(path, index=False)
    found = recommend_rule(model, BRIGHT, path=path, **GIVEN)
    pd.testing.assert_frame_equal(found.records, expected.records)
    pd.testing.assert_frame_equal(found.table(), expected.table())
    assert path.read_bytes() == before


def test_another_function_of_the_same_name_is_not_taken_for_this_one(tmp_path):
    def paint(value):
        return lambda x, mask: x * 0 + value

    path, model = tmp_path / "records.csv", brightness()
    for value in (0.0, 5.0):
        how = {"mine": paint(value), "zero": "zero"}
        found, expected = (recommend_rule(model, BRIGHT, maskings=how, path=place) for place in (path, None))
        pd.testing.assert_frame_equal(found.records, expected.records)
    with pytest.raises(ValueError, match="has records of other settings"):
        recommend_rule(model, BRIGHT, maskings=how, path=path, to_confidence=lambda output: output.softmax(1))


class TestRefusals:
    def test_patches_of_which_a_share_is_nothing_or_all(self):
        with pytest.raises(
            ValueError, match=r"patches of 12 pixels are too large for an image of 12 × 12: 75 % of them"
        ):
            recommend_rule(brightness(), BRIGHT, maskings=["zero", "avg"], patch=12)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"boxes": [CENTER]}, "one box per image, got 8 images and 1 boxes"),
            ({"boxes": [CENTER] * 7 + [(4, 4, 13, 8)]}, "box 7: expected left < right within 0 to 12"),
            ({"boxes": [(4, 4, 4, 8)] * 8}, "box 0: expected left < right"),
            ({"boxes": [(4, 8, 8, 4)] * 8}, "top < bottom"),
            ({"boxes": [(-1, 4, 8, 8)] * 8}, "box 0"),
            ({"boxes": [(4, 4, 8)] * 8}, "four integers"),
            ({"boxes": [(4.5, 4, 8, 8)] * 8}, "four integers"),
            ({"targets": [1]}, "one target per image, got 8 images and 1 targets"),
            ({"maskings": ["zero"]}, "at least two maskings"),
            ({"maskings": ["zero", "zero"]}, "at least two maskings"),
            ({"maskings": {"none": "zero", "b": "avg"}}, "cannot have the name 'none'"),
            ({"shares": ()}, "different fractions above 0 and below 1"),
            ({"shares": (0.5, 0.5)}, "different fractions"),
            ({"shares": (1.0,)}, "different fractions"),
            ({"shares": (1 / 3, 0.33333334)}, "have the same label '33.3333 % there'"),
            ({"seed": -1}, "seed must be an integer"),
            ({"seed": 1.5}, "seed must be an integer"),
        ],
    )
    def test_what_does_not_fit(self, given, message):
        model = mean_of(CENTER)
        with batches(model) as sizes, pytest.raises(ValueError, match=message):
            recommend_rule(model, BRIGHT, **{"maskings": ["zero", "avg"], **given})
        assert not sizes

    def test_no_images(self):
        with pytest.raises(ValueError, match="no images"):
            recommend_rule(mean_of(CENTER), [])
        with pytest.raises(ValueError, match=r"expected shape \(1, C, H, W\)"):
            recommend_rule(mean_of(CENTER), [torch.rand(1, 4, 4, 4, 4)])

    def test_images_whose_names_are_written_alike(self):
        with pytest.raises(ValueError, match="two images have the name '1'"):
            recommend_rule(mean_of(CENTER), {1: BRIGHT[0], "1": BRIGHT[1]}, maskings=["zero", "avg"])

    def test_maskings_without_names(self):
        for maskings in ("zero", ["zero", 0.5], ["zero", torch.zeros(1)]):
            with pytest.raises(TypeError, match="expected a"):
                recommend_rule(mean_of(CENTER), BRIGHT, maskings=maskings)
        with pytest.raises(UnknownNameError, match="did you mean 'ad:paper'"):
            recommend_rule(mean_of(CENTER), BRIGHT, maskings=["zero", "paper"])

    def test_a_network_that_is_never_right(self):
        with pytest.raises(NoneRightError, match=r"right on none of the 8 whole photographs \(accuracy 0 %\)"):
            recommend_rule(mean_of(CENTER), BRIGHT, [0] * 8, maskings=["zero", "avg"])

    def test_train_mode(self):
        with pytest.raises(ValueError, match="train mode"):
            recommend_rule(mean_of(CENTER).train(), BRIGHT)
