"""The records: whole or not at all, whatever happens to the process that writes them."""

import math
import os
import random
import signal
import sqlite3
import time

import pytest

from captum_ad.study.store import SCHEMA, Measured, Store, StoreError, record_file, recorded, rows_of
from captum_ad.study.units import Unit, all_units

ROWS = 9


def measured(number: int, rows: int = ROWS) -> Measured:
    """Of a dummy method: what comes out says which unit it is of."""
    explanations = [("K1", level / rows, True, 0.5, 0.75, number / 7, 0.25, 100, 0) for level in range(rows)]
    return Measured(
        number, 0.1, {"explanations": explanations, "scores": [("deletion", None, number / 3)]}, (1, 2, 0.5, b"x")
    )


def unit(number: int) -> Unit:
    return Unit("net", f"image {number}", "dummy", "zero")


class TestStore:
    def test_gives_back_what_was_added(self, tmp_path):
        path = record_file(tmp_path, 0)
        store = Store(path)
        for number in range(3):
            store.add(unit(number), measured(number))
        store.close()
        assert recorded(tmp_path) == {unit(number) for number in range(3)}
        rows = list(rows_of([tmp_path], "explanations"))
        assert len(rows) == 3 * ROWS
        assert [row["rho"] for row in rows[::ROWS]] == [number / 7 for number in range(3)]  # to the last bit
        assert [row["target"] for row in rows[::ROWS]] == [0, 1, 2]
        (first, *_) = rows_of([tmp_path], "scores")
        assert math.isnan(first["level"])
        assert [row["image"] for row in rows_of([tmp_path], "images")] == [unit(n).image for n in range(3)]
        assert os.listdir(tmp_path) == [path.name]

    @pytest.mark.parametrize(
        "name", ["NA", "007", "a,b", 'say "x"', "two\nlines", " ", "ü→é", "", "'; DROP TABLE units"]
    )
    def test_names_may_be_any(self, tmp_path, name):
        store = Store(record_file(tmp_path, 0))
        store.add(Unit(name, name, name, name), measured(1))
        assert store.units() == {Unit(name, name, name, name)}

    def test_nan_and_targets_in_words_come_back(self):
        store = Store(None)
        row = ("K1", math.nan, False, math.nan, math.nan, math.nan, math.nan, 3, 1)
        store.add(unit(0), Measured("Contrast(1, 2)", 0.1, {"explanations": [row]}))
        (found,) = store.read("explanations")
        assert found["target"] == "Contrast(1, 2)"
        assert all(math.isnan(found[name]) for name in ("gamma", "size", "confidence", "rho", "confidence_planted"))

    def test_a_unit_counts_once(self, tmp_path):
        """In one file, and in two: two launches may do the same unit."""
        for number in (0, 1):
            store = Store(record_file(tmp_path, number))
            for _ in range(2):
                store.add(unit(0), measured(0))
            store.close()
        assert len(list(rows_of([tmp_path], "explanations"))) == ROWS
        assert len(list(rows_of([tmp_path, tmp_path], "images"))) == 1

    def test_pictures_are_of_their_unit(self):
        store = Store(None)
        for number in range(2):
            store.add(unit(number), Measured(0, 0.1, {"pictures": [("map", bytes([number]))]}))
        assert store.picture(unit(1), "map") == b"\x01"
        assert store.picture(unit(1), "mask") is None


class TestRefusals:
    def test_another_schema(self, tmp_path):
        path = record_file(tmp_path, 0)
        Store(path).close()
        with sqlite3.connect(path) as file:
            file.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        before = path.read_bytes()
        with pytest.raises(
            StoreError, match=f"schema {SCHEMA + 1}, but this version of captum_ad reads schema {SCHEMA}"
        ):
            recorded(tmp_path)
        assert path.read_bytes() == before

    def test_another_database_and_no_database(self, tmp_path):
        path = record_file(tmp_path, 0)
        with sqlite3.connect(path) as file:
            file.execute("CREATE TABLE mine (x)")
        file.close()
        with pytest.raises(StoreError, match="not a file of a study's records"):
            Store(path)
        path.write_bytes(b"image,method\n" * 100)
        with pytest.raises(StoreError, match="not a file of a study's records"):
            Store(path)

    def test_a_full_disk_stops_cleanly_and_can_be_gone_on_with(self, tmp_path):
        path = record_file(tmp_path, 0)
        store = Store(path)
        pages = store._file.execute("PRAGMA page_count").fetchone()[0]
        store._file.execute(f"PRAGMA max_page_count = {pages + 3}")
        done = -1
        with pytest.raises(StoreError, match=r"full.*Existing records are safe: free some space"):  # noqa: PT012
            for done in range(1000):
                store.add(unit(done), measured(done, rows=50))
        store.close()
        assert recorded(tmp_path) == {unit(number) for number in range(done)}
        again = Store(path)
        again.add(unit(done), measured(done))
        assert len(again.units()) == done + 1

    def test_no_folder(self, tmp_path):
        with pytest.raises(StoreError, match="cannot use the records"):
            Store(tmp_path / "nowhere" / "records-0.sqlite")


@pytest.mark.slow
def test_killed_50_times_at_random_moments(tmp_path):
    """Every unit that was acknowledged is there, whole; at most the one in hand is lost."""
    moments, path, done = random.Random(0), record_file(tmp_path, 0), 0
    for _ in range(50):
        here, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(here)
                store = Store(path)
                for number in range(done, done + 100_000):
                    store.add(unit(number), measured(number))
                    os.write(there, b".")
            finally:  # whatever happens, the child must not go on as a second test run
                os._exit(0)
        os.close(there)
        with os.fdopen(here, "rb", buffering=0) as pipe:
            acknowledged = sum(len(pipe.read(1)) for _ in range(moments.randint(0, 3)))  # also on a slow machine
            time.sleep(moments.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            acknowledged += len(pipe.readall())
        found = recorded(tmp_path)
        assert done + acknowledged <= len(found) <= done + acknowledged + 1
        assert found == {unit(number) for number in range(len(found))}
        done = len(found)
        with sqlite3.connect(path) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert set(file.execute("SELECT count(*) FROM explanations GROUP BY unit")) <= {(ROWS,)}
            assert file.execute("SELECT count(*), count(DISTINCT unit) FROM scores").fetchone() == (done, done)
        file.close()
    assert done > 50
    assert os.listdir(tmp_path) == [path.name]


def test_the_hundred_thousandth_unit_costs_what_the_first_cost(tmp_path):
    store = Store(record_file(tmp_path, 0))

    def cost(first: int, count: int) -> float:
        times = []
        for number in range(first, first + count):
            start = time.perf_counter()
            store.add(unit(number), measured(number))
            times.append(time.perf_counter() - start)
        return sorted(times)[count // 2]

    early = cost(0, 500)
    with store._file:  # what would take a while unit by unit
        many = [(number, *unit(number), 0, 0.1) for number in range(600, 100_000)]
        store._file.executemany("INSERT INTO units VALUES (?, ?, ?, ?, ?, ?, ?)", many)
        for _ in range(ROWS):
            row = "(unit, backgrounds, gamma, found, n_backgrounds, excluded) VALUES (?, 'K1', 0.5, 1, 100, 0)"
            store._file.executemany(f"INSERT INTO explanations {row}", [(number,) for number in range(600, 100_000)])
    late = cost(100_000, 500)
    assert late < 1.5 * early + 1e-4
    start = time.perf_counter()
    assert len(store.units()) > 100_000
    assert time.perf_counter() - start < 5


def test_units_of_an_image_are_next_to_one_another():
    units = list(all_units(["a", "b"], ["cat", "dog"], iter(["lime", "rise"]), iter(["zero", "avg"])))
    assert len(units) == len(set(units)) == 16
    images = [(one.model, one.image) for one in units]
    assert images == [pair for pair in dict.fromkeys(images) for _ in range(4)]
