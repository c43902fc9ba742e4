"""The file of a comparison, which a run can be taken up from."""

import os
import tempfile

import pandas as pd
import pytest
from torch import nn

from captum_ad import MaskRule
from captum_ad.metrics import OtherClassImages, SolidColors
from tests.metrics.models import answer, batches, small_net
from tests.metrics.study import (
    DATASET,
    IMAGES,
    K1,
    METHODS,
    MODEL,
    Counting,
    assert_same,
    cells,
    first_channel,
    run,
    second_channel,
)

pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision' argument is deprecated")
both_formats = pytest.mark.parametrize("suffix", [".csv", ".parquet"])


@pytest.fixture
def counting(monkeypatch):
    return Counting(monkeypatch)


@both_formats
class TestFile:
    def test_has_the_records_and_nothing_else_is_written(self, suffix, tmp_path, monkeypatch):
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir()
        there.mkdir()
        monkeypatch.chdir(here)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        path = there / f"records{suffix}"
        records = run(path=str(path) if suffix == ".csv" else path)
        written = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        pd.testing.assert_frame_equal(written, records, check_dtype=False)
        assert os.listdir(there) == [path.name]
        assert os.listdir(here) == []

    def test_does_not_change_what_is_returned(self, suffix, tmp_path, full):
        assert_same(run(path=tmp_path / f"records{suffix}"), full)

    def test_that_is_complete_needs_no_forward_and_stays(self, suffix, tmp_path, counting):
        path = tmp_path / f"records{suffix}"
        first = run(path=path)
        before = path.read_bytes()
        counting.calls.clear()
        with batches(MODEL) as sizes:
            again = run(path=path)
        assert sizes == []
        assert counting.calls == []
        assert_same(again, first, seconds=True)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("missing", [[0], [7], [2, 3, 5], [1, 2, 3, 4, 5, 6]])
    def test_that_lacks_cells_gets_those(self, suffix, tmp_path, full, missing, counting):
        path = tmp_path / f"records{suffix}"
        gone = [cells(full)[i] for i in missing]
        keys = list(zip(full["image"], full["method"], full["masking"]))
        self.write(full[[key not in gone for key in keys]], path)
        again = run(path=path)
        kinds = {"ad:no-growth": "ADForward", "avg": "BaselineForward"}
        assert counting.calls == [
            (METHODS[m], kinds[masking], answer(MODEL, IMAGES[image])) for image, m, masking in gone
        ]
        assert_same(again, full)
        kept = [key not in gone for key in keys]
        assert_same(again[kept], full[kept], seconds=True)
        assert sorted(cells(self.read(path))) == sorted(cells(full))
        assert len(self.read(path)) == len(full)

    def test_that_lacks_an_image_runs_the_model_for_that_only(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run({"cat": IMAGES["cat"]}, path=path)
        with batches(MODEL) as alone:
            run({"dog": IMAGES["dog"]})
        with batches(MODEL) as sizes:
            run(path=path)
        assert sizes == alone

    @pytest.mark.parametrize("rows", [[0], [3, 4, 9], [1, 2, 3]])
    def test_that_lacks_rows_of_a_cell_gets_them_again(self, suffix, tmp_path, full, rows):
        path = tmp_path / f"records{suffix}"
        self.write(full.drop(index=rows), path)
        again = run(path=path)
        assert_same(again, full)
        assert len(self.read(path)) == len(full)

    def test_grows_with_images_methods_and_maskings(self, suffix, tmp_path, full, counting):
        path = tmp_path / f"records{suffix}"
        run({"cat": IMAGES["cat"]}, {"first": first_channel}, ["avg"], path=path)
        counting.calls.clear()
        assert_same(run(path=path), full)
        assert len(counting.calls) == 7
        some = run({"dog": IMAGES["dog"]}, {"second": second_channel}, ["avg"], path=path)
        assert cells(some) == [("dog", "second", "avg")]
        assert sorted(cells(self.read(path))) == sorted(cells(full))

    def test_knows_an_image_by_its_values_not_by_its_name_alone(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(path=path)
        changed = {"cat": IMAGES["dog"], "dog": IMAGES["dog"]}
        assert_same(run(changed, path=path), run(changed))

    @pytest.mark.parametrize(
        "name", ["NA", "nan", "None", "007", "1e3", "a,b", 'say "x"', "two\nlines", " ", "ü→é", "True"]
    )
    def test_finds_names_of_any_kind_again(self, suffix, tmp_path, name, counting):
        path = tmp_path / f"records{suffix}"
        calls = [
            run({name: IMAGES["cat"]}, {name: first_channel}, {name: 0.5}, backgrounds={name: K1}, path=path)
            for _ in range(2)
        ]
        assert len(counting.calls) == 1
        assert_same(calls[1], calls[0], seconds=True)
        assert calls[1]["backgrounds"].unique().tolist() == [name]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize("fail_at", [1, 4, 8])
    def test_of_an_interrupted_run_has_what_was_finished(self, suffix, tmp_path, full, fail_at, error, counting):
        path = tmp_path / f"records{suffix}"
        counting.fail_at, counting.error = fail_at, error
        with pytest.raises(error, match="power went out"):
            run(path=path)
        assert os.listdir(tmp_path) == ([path.name] if fail_at > 1 else [])
        if fail_at > 1:
            finished = self.read(path)
            assert cells(finished) == cells(full)[: fail_at - 1]
            assert_same(finished, full.iloc[: len(finished)])
        counting.calls.clear()
        counting.fail_at = None
        assert_same(run(path=path), full)
        assert len(counting.calls) == 8 - (fail_at - 1)
        assert_same(self.read(path), full)
        assert os.listdir(tmp_path) == [path.name]

    @pytest.mark.parametrize("step", ["replace", "chmod"])
    def test_that_cannot_be_written_stays_as_it_was(self, suffix, tmp_path, monkeypatch, step):
        path = tmp_path / f"records{suffix}"
        run({"cat": IMAGES["cat"]}, path=path)
        before = path.read_bytes()

        def full_disk(*args, **kwargs):
            raise OSError("no space left")

        monkeypatch.setattr(os, step, full_disk)
        with pytest.raises(OSError, match="no space left"):
            run(path=path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == [path.name]

    def test_is_written_after_every_attribution(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        finished = []

        def method(forward, x, target):
            finished.append(len(cells(self.read(path))) if path.exists() else 0)
            return x

        run(methods={"own": method}, path=path)
        assert finished == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        "changes",
        [
            {"gammas": (0.2, 0.8)},
            {"gammas": (0.2,)},
            {"sizes": (0.25,)},
            {"backgrounds": {"K1": SolidColors(6, 2, mean=0.5, std=0.1)}},
            {"backgrounds": {"K1": SolidColors(7, 1, mean=0.5, std=0.1)}},
            {"backgrounds": {"other": K1}},
            {"backgrounds": {"K1": K1, "K2": OtherClassImages(DATASET)}},
            {"step": 5},
            {"to_confidence": "sigmoid"},
            {"seed": 1},
            {"samples": 13},
            {"segments": 7},
            {"window": 5},
            {"model": small_net(6, (3, 8, 8), classes=4)},
        ],
    )
    def test_of_other_settings_is_refused_and_stays(self, suffix, tmp_path, full, changes):
        path = tmp_path / f"records{suffix}"
        self.write(full, path)
        self.assert_refused(path, **changes)

    def test_of_a_masking_of_another_value_is_not_taken_for_this_one(self, suffix, tmp_path):
        """A name is the user's; what it stood for was another value, and its records are not these."""
        path = tmp_path / f"records{suffix}"
        run(maskings={"mine": 0.0}, path=path)
        self.assert_not_taken_over(path, maskings={"mine": 3.0})

    def test_of_another_rule_is_not_taken_for_this_one(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(maskings={"ad:mine": MaskRule(growth="none")}, path=path)
        self.assert_not_taken_over(path, maskings={"ad:mine": MaskRule(growth="window")})

    def test_of_another_function_of_the_same_name_is_not_taken_for_this_one(self, suffix, tmp_path):
        def paint(value):
            return lambda x, mask: x * 0 + value

        def method(value):
            return lambda forward, x, target: x.sin() * value

        def to_confidence(scale):
            return lambda output: (scale * output).softmax(1)

        path = tmp_path / f"records{suffix}"
        for argument, make in (
            ("maskings", lambda v: {"mine": paint(v)}),
            ("methods", lambda v: {"mine": method(v)}),
            ("to_confidence", to_confidence),
        ):
            path.unlink(missing_ok=True)
            run(path=path, **{argument: make(1.0)})
            self.assert_not_taken_over(path, **{argument: make(-2.0)})

    def test_of_another_method_is_not_taken_for_this_one(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(methods={"mine": first_channel}, path=path)
        self.assert_not_taken_over(path, methods={"mine": second_channel})

    def test_of_another_data_set_is_not_taken_for_this_one(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(backgrounds={"K2": OtherClassImages(DATASET)}, path=path)
        self.assert_not_taken_over(path, backgrounds={"K2": OtherClassImages(DATASET[:7])})

    def test_of_another_model_with_the_same_weights_is_not_taken_for_this_one(self, suffix, tmp_path, full):
        """Another activation function in place of the third layer's."""
        path = tmp_path / f"records{suffix}"
        self.write(full, path)
        other = small_net(5, (3, 8, 8), classes=4)
        assert isinstance(other[2], nn.SiLU)
        other[2] = nn.Tanh().eval()
        self.assert_not_taken_over(path, model=other)

    def test_of_backgrounds_of_ones_own_is_taken_up(self, suffix, tmp_path):
        """Made anew, as in another process, with the same settings."""

        class Mine:
            def __init__(self, n):
                self.n = n

            def draw(self, model, x, target, *, batch_size=None):
                return SolidColors(self.n, mean=0.5, std=0.1).draw(model, x, target)

        path = tmp_path / f"records{suffix}"
        kept_alive = Mine(4)
        first = run(backgrounds={"mine": kept_alive}, path=path)
        assert_same(run(backgrounds={"mine": Mine(4)}, path=path), first, seconds=True)

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00junk", b"image,run\ncat,1\n"])
    def test_of_something_else_is_refused_and_stays(self, suffix, tmp_path, content):
        path = tmp_path / f"records{suffix}"
        path.write_bytes(content)
        self.assert_refused(path)

    def assert_refused(self, path, **changes):
        before = path.read_bytes()
        with batches(MODEL) as sizes, pytest.raises(ValueError, match="records"):
            run(path=path, **changes)
        assert sizes == []
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]

    def assert_not_taken_over(self, path, **changes):
        """Refused, or computed again."""
        before, refusal = path.read_bytes(), None
        try:
            records = run(path=path, **changes)
        except ValueError as error:
            refusal = str(error)
        if refusal is None:
            assert_same(records, run(**changes))
        else:
            assert "has records of other settings" in refusal
            assert path.read_bytes() == before

    @staticmethod
    def read(path):
        return pd.read_csv(path, float_precision="round_trip") if path.suffix == ".csv" else pd.read_parquet(path)

    @staticmethod
    def write(records, path):
        if path.suffix == ".csv":
            records.to_csv(path, index=False)
        else:
            records.to_parquet(path, index=False)
