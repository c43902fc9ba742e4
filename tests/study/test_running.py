"""A run's folder: what is taken up, what is refused, and what a kill leaves."""

import json
import os
import random
import re
import signal
import sqlite3
import threading
import time
from importlib.metadata import version

import pytest
from torch import nn
from tqdm import tqdm

from captum_ad import MaskRule
from captum_ad.metrics import OtherClassImages, SolidColors
from captum_ad.study.manifest import FILE, read_manifest
from captum_ad.study.store import SCHEMA, record_file, recorded
from tests.metrics.models import batches, small_net
from tests.metrics.study import (
    DATASET,
    IMAGES,
    K1,
    MODEL,
    Counting,
    assert_same,
    cells,
    first_channel,
    run,
    second_channel,
)

# The records say which explanations are empty.
pytestmark = pytest.mark.filterwarnings("error::captum_ad._common.errors.EmptyExplanationWarning")


@pytest.fixture
def counting(monkeypatch):
    return Counting(monkeypatch)


@pytest.fixture(scope="module")
def full():
    return run()


def done(folder):
    return {(unit.image, unit.method, unit.masking) for unit in recorded(folder)}


class TestFolder:
    def test_has_the_manifest_the_records_and_nothing_else(self, tmp_path, full):
        folder = tmp_path / "made" / "here"
        assert_same(run(folder=str(folder)), full)
        assert sorted(os.listdir(folder)) == ["records-0.sqlite", FILE]
        manifest = read_manifest(folder)
        assert manifest.schema == SCHEMA
        assert set(manifest.images) == set(IMAGES)
        assert manifest.versions["torch"] == version("torch")

    def test_that_is_complete_needs_no_forward(self, tmp_path, counting):
        first = run(folder=tmp_path)
        counting.calls.clear()
        with batches(MODEL) as sizes:
            again = run(folder=tmp_path)
        assert sizes == []
        assert counting.calls == []
        assert_same(again, first, seconds=True)

    def test_grows_with_images_methods_and_maskings(self, tmp_path, full, counting):
        run({"cat": IMAGES["cat"]}, {"first": first_channel}, ["avg"], folder=tmp_path)
        counting.calls.clear()
        assert_same(run(folder=tmp_path), full)
        assert len(counting.calls) == 7
        counting.calls.clear()
        some = run({"dog": IMAGES["dog"]}, {"second": second_channel}, ["avg"], folder=tmp_path)
        assert cells(some) == [("dog", "second", "avg")]
        assert counting.calls == []
        assert done(tmp_path) == set(cells(full))

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize("fail_at", [1, 4, 8])
    def test_of_an_interrupted_run_has_what_was_finished(self, tmp_path, full, fail_at, error, counting):
        counting.fail_at, counting.error = fail_at, error
        with pytest.raises(error, match="power went out"):
            run(folder=tmp_path)
        assert done(tmp_path) == set(cells(full)[: fail_at - 1])
        counting.calls.clear()
        counting.fail_at = None
        assert_same(run(folder=tmp_path), full)
        assert len(counting.calls) == 8 - (fail_at - 1)

    def test_sigterm_lets_the_unit_in_hand_finish(self, tmp_path, full, counting):
        def method(forward, x, target):
            if len(counting.calls) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return first_channel(forward, x, target)

        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit, match="143"):
            run(methods={"first": method}, folder=tmp_path)
        assert len(done(tmp_path)) == 3
        assert signal.getsignal(signal.SIGTERM) is before

    @pytest.mark.parametrize(
        ("changes", "shown"),
        [
            ({"gammas": (0.2, 0.8)}, r"gammas: \[0.2, 0.9\] there, \[0.2, 0.8\] now"),
            ({"sizes": (0.25,)}, "sizes"),
            ({"backgrounds": {"K1": SolidColors(6, 2, mean=0.5, std=0.1)}}, "model 'model' has other .* backgrounds"),
            ({"backgrounds": {"K1": K1, "K2": OtherClassImages(DATASET)}}, "backgrounds"),
            ({"step": 5}, "step: 6 there, 5 now"),
            ({"to_confidence": "sigmoid"}, "model 'model' has other"),
            ({"seed": 1}, "seed: 0 there, 1 now"),
            ({"n_samples": 13, "window": 5}, "samples: 12 there, 13 now; window: 4 there, 5 now"),
            ({"n_segments": 7}, "segments"),
            ({"model": small_net(6, (3, 8, 8), classes=4)}, "model 'model' has other weights"),
            ({"images": {"cat": IMAGES["dog"]}}, "image 'cat' has other contents"),
            ({"methods": {"first": second_channel}}, "method 'first' has other code"),
            ({"maskings": {"avg": 0.5}}, "masking 'avg' has another meaning"),
            ({"maskings": {"ad:no-growth": MaskRule()}}, "masking 'ad:no-growth' has another meaning"),
        ],
    )
    def test_of_another_configuration_is_refused_and_the_difference_shown(self, tmp_path, changes, shown):
        run({"cat": IMAGES["cat"]}, folder=tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with batches(changes.get("model", MODEL)) as sizes, pytest.raises(ValueError, match=shown):
            run(**{"images": {"cat": IMAGES["cat"]}, **changes}, folder=tmp_path)
        assert sizes == []
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_of_another_activation_with_the_same_weights_is_refused(self, tmp_path):
        run(folder=tmp_path)
        other = small_net(5, (3, 8, 8), classes=4)
        other[2] = nn.Tanh().eval()
        with pytest.raises(ValueError, match="other weights, code"):
            run(model=other, folder=tmp_path)

    def test_a_method_of_another_version_is_another_one_and_of_the_same_is_not(self, tmp_path):
        def method(value, version):
            def mine(forward, x, target):
                return x * value

            mine.version = version
            return mine

        run(methods={"mine": method(1.0, "1")}, folder=tmp_path)
        run(methods={"mine": method(2.0, "1")}, folder=tmp_path)  # its author says that nothing changed
        with pytest.raises(ValueError, match="method 'mine' has other code"):
            run(methods={"mine": method(1.0, "2")}, folder=tmp_path)

    def test_of_another_version_or_schema_is_refused(self, tmp_path):
        run(folder=tmp_path)
        written = json.loads((tmp_path / FILE).read_text())
        (tmp_path / FILE).write_text(json.dumps({**written, "versions": {**written["versions"], "torch": "1.0"}}))
        with pytest.raises(ValueError, match=f"version of torch: 1.0 there, {re.escape(version('torch'))} now"):
            run(folder=tmp_path)
        (tmp_path / FILE).write_text(json.dumps({**written, "schema": SCHEMA + 1}))
        with pytest.raises(ValueError, match=f"schema {SCHEMA + 1}"):
            run(folder=tmp_path)
        (tmp_path / FILE).write_text("{")
        with pytest.raises(ValueError, match="not a manifest of a study"):
            run(folder=tmp_path)


class TestBackgrounds:
    def test_are_classified_once_for_all_images(self):
        data = [(x, label) for x, label in DATASET]
        images = {str(number): x + number / 50 for number in range(4) for x in IMAGES.values()}
        k2 = {"K2": OtherClassImages(data, 4)}
        with batches(MODEL) as alone:
            run({"0": images["0"]}, backgrounds=k2, gammas=(0.9,), sizes=())
        with batches(MODEL) as several:
            run(images, backgrounds=k2, gammas=(0.9,), sizes=())
        with batches(MODEL) as k1:
            run(images, backgrounds={"K1": SolidColors(4, mean=0.5, std=0.1)}, gammas=(0.9,), sizes=())
        assert sum(several) - sum(k1) <= len(data)
        assert sum(alone) < sum(several)


@pytest.mark.slow
def test_killed_50_times_at_random_moments(tmp_path, full):
    """A whole study of dummy methods: whatever the moment, what is there is whole, and in the end all is as without."""
    moments, seen = random.Random(1), set()
    for _ in range(50):
        child = os.fork()
        if not child:
            try:
                tqdm.set_lock(threading.RLock())  # the common one outlives a child that is killed while it holds it
                run(folder=tmp_path)
            finally:  # whatever happens, the child must not go on as a second test run
                os._exit(0)
        time.sleep(moments.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = done(tmp_path)
        assert seen <= found
        seen = found
        for name in os.listdir(tmp_path):
            assert name in (FILE, f".{FILE}.new", "records-0.sqlite")  # SQLite's log is gone once it was read
        if (tmp_path / FILE).exists():
            read_manifest(tmp_path)
        if found:
            with sqlite3.connect(record_file(tmp_path, 0)) as file:
                assert set(file.execute("SELECT count(*) FROM explanations GROUP BY unit")) == {(4,)}
            file.close()
    assert_same(run(folder=tmp_path), full)
    assert not (tmp_path / f".{FILE}.new").exists()
