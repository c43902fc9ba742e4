"""Image files: many gray levels, folders, patterns, phones."""

import numpy as np
import pytest
from PIL import Image

from captum_ad._common.errors import InputError
from captum_ad._common.images import expanded, load_photographs


def seen(path):
    (photograph,) = load_photographs([str(path)])
    return np.asarray(photograph.image), photograph.note


class TestDepths:
    RAMP = np.tile(np.arange(256), (4, 1))

    @pytest.mark.parametrize("kind", ["png", "tif"])
    @pytest.mark.parametrize(("factor", "bits"), [(257, 16), (16, 12), (4, 10), (64, 14), (1, 8)])
    def test_sixteen_bits_come_down_to_eight(self, tmp_path, kind, factor, bits):
        Image.fromarray((self.RAMP * factor).astype(np.uint16)).save(tmp_path / f"scan.{kind}")
        pixels, note = seen(tmp_path / f"scan.{kind}")
        assert pixels.shape == (4, 256, 3)
        assert np.abs(pixels[..., 0].astype(int) - self.RAMP).max() <= 1
        assert (f"({bits} bits) is taken for white" in note) == (bits != 16)

    def test_floats(self, tmp_path):
        Image.fromarray((self.RAMP / 255).astype(np.float32)).save(tmp_path / "scan.tif")
        pixels, note = seen(tmp_path / "scan.tif")
        assert np.array_equal(pixels[..., 1], self.RAMP)
        assert note == ""

    @pytest.mark.parametrize("low", [-5, np.nan])
    def test_what_has_no_meaning_is_refused(self, tmp_path, low):
        values = self.RAMP.astype(np.float32)
        values[0, 0] = low
        Image.fromarray(values).save(tmp_path / "scan.tif")
        with pytest.raises(InputError, match=r"scan.tif.*expected 0 to 1: scale them first"):
            seen(tmp_path / "scan.tif")

    def test_eight_bits_are_left_alone(self, tmp_path):
        Image.fromarray(self.RAMP.astype(np.uint8)).save(tmp_path / "gray.png")
        pixels, note = seen(tmp_path / "gray.png")
        assert np.array_equal(pixels[..., 2], self.RAMP)
        assert note == ""


class TestExpanded:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        (tmp_path / "photos/more").mkdir(parents=True)
        for name in ("b.png", "a.JPG", "more/c.png"):
            Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
        (tmp_path / "photos/notes.txt").write_text("no image")
        (tmp_path / "photos/.hidden.png").write_text("no image")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.parametrize(
        ("given", "files"),
        [
            (["photos"], ["photos/a.JPG", "photos/b.png"]),
            (["photos/*.png"], ["photos/b.png"]),
            (["photos/**/*.*"], ["photos/a.JPG", "photos/b.png", "photos/more/c.png"]),
            (["coffee", "photos/more"], ["coffee", "photos/more/c.png"]),
            (["photos/b.png", "photos"], ["photos/b.png", "photos/a.JPG", "photos/b.png"]),
        ],
    )
    def test_folders_and_patterns(self, folder, given, files):
        assert expanded(given) == files

    def test_a_file_whose_name_looks_like_a_pattern(self, folder):
        Image.new("RGB", (8, 8)).save(folder / "photo[1].png")
        assert expanded(["photo[1].png"]) == ["photo[1].png"]


def test_pictures_of_phones_name_the_package(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(InputError, match="pillow-heif"):
        seen(tmp_path / "IMG_1.HEIC")


def test_upright_sizes(tmp_path):
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "phone.jpg", exif=exif)
    (photograph,) = load_photographs([str(tmp_path / "phone.jpg")])
    assert photograph.size == photograph.image.size == (10, 20)


def test_names_that_differ_in_case_only_are_two_files_everywhere(tmp_path):
    for name in ("a/Cat.png", "b/cat.png", "c/cat.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    names = [one.name for one in load_photographs([str(tmp_path / name) for name in ("a", "b", "c")])]
    assert len({name.casefold() for name in names}) == 3
    assert names[0] == "Cat"
