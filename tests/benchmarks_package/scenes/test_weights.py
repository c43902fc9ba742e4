"""The shipped weights, what is refused, and a training of seconds."""

from __future__ import annotations

import dataclasses
import importlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from captum_ad.benchmarks.scenes import (
    NETWORKS,
    behind,
    draw,
    drawing,
    load_network,
    save_network,
    scene,
    train,
    weights,
)
from captum_ad.benchmarks.scenes.behind import BACKGROUNDS
from captum_ad.benchmarks.scenes.definition import definition, same_scenes
from captum_ad.benchmarks.scenes.networks import network
from captum_ad.benchmarks.scenes.training import accuracy, drawn, whole
from captum_ad.benchmarks.scenes.weights import SETS

definitions = importlib.import_module("captum_ad.benchmarks.scenes.definition")
ABOUT = {"format": "2", "network": "mobile", "seed": "1", "scenes": definition(1), "accuracy": "0.99"}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("chosen", SETS)
def test_shipped_weights(name, chosen):
    trained = load_network(name, chosen)
    assert (trained.name, trained.seed, trained.model.training) == (name, SETS[chosen], False)
    assert trained.accuracy >= 0.9
    assert {value.dtype for value in trained.model.parameters()} == {torch.float32}
    reached = accuracy(trained.model, *whole(trained.seed, 60))
    assert reached >= trained.accuracy - 0.05
    assert (weights._file(name, chosen)).stat().st_size <= 1_000_000


def test_written_and_read_again(tmp_path):
    trained = load_network("mobile")
    save_network(trained, tmp_path)
    again = load_network("mobile", tmp_path)
    assert (again.seed, again.accuracy) == (trained.seed, trained.accuracy)
    for key, value in trained.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    assert [path.name for path in tmp_path.iterdir()] == ["mobile.safetensors"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "1"}, "have format '1', expected '2': train them again"),
        ({"scenes": "another"}, "were trained on scenes that"),
        ({"seed": "2"}, "were trained on scenes that"),
        ({"network": "plain"}, "belong to the network 'plain', expected 'mobile'"),
        ({"scenes": "5"}, "were trained on scenes that"),
        ({"scenes": definition(1)[:-3]}, "were trained on scenes that"),
        ({"accuracy": None}, "have no accuracy in them"),
        ({"seed": "x"}, "have seed 'x' and accuracy '0.99', expected a whole number and a share: train them again"),
        ({"seed": "-1"}, "have seed '-1'"),
        ({"accuracy": "high"}, "have seed '1' and accuracy 'high'"),
        ({"accuracy": "nan"}, "have seed '1' and accuracy 'nan'"),
    ],
)
def test_other_weights_are_refused(tmp_path, changed, message):
    tensors = load_file(weights._file("mobile", "report"))
    about = {key: value for key, value in (ABOUT | changed).items() if value is not None}
    save_file(tensors, tmp_path / "mobile.safetensors", about)
    with pytest.raises(ValueError, match=message):
        load_network("mobile", tmp_path)


class TestDefinition:
    def test_other_classes_are_other_scenes(self):
        found = [definition(seed) for seed in range(6)]
        assert [same_scenes(one, other) for one in found for other in found] == [
            i == k for i in range(6) for k in range(6)
        ]

    @pytest.mark.parametrize(
        ("module", "name", "change"),
        [
            (drawing, "COLORS", lambda colors: colors[:3]),
            (drawing, "STRAY", lambda shapes: shapes[::-1]),
            (drawing, "PLACES", lambda places: [(right, down + 1) for right, down in places]),
            (drawing, "LOOKS", lambda looks: [part[::-1] for part in looks]),
            (behind, "_textured", lambda textured: lambda smooth, generator: smooth),
            (
                drawing,
                "rendered",
                lambda rendered: lambda piece: rendered(dataclasses.replace(piece, angle=piece.angle + 0.1)),
            ),
        ],
    )
    def test_drawing_otherwise_is_another_definition(self, monkeypatch, module, name, change):
        before = definition(1)
        monkeypatch.setattr(module, name, change(getattr(module, name)))
        definition.cache_clear()
        drawing._layers.cache_clear()
        after = definition(1)
        definition.cache_clear()
        drawing._layers.cache_clear()
        assert not same_scenes(before, after)

    def test_the_last_digits_of_another_processor_are_not(self, monkeypatch):
        before, rounded = definition(1), drawing.draw
        monkeypatch.setattr(definitions, "draw", lambda one: rounded(one) * (1 + 1e-5))
        definition.cache_clear()
        after = definition(1)
        definition.cache_clear()
        assert before != after
        assert same_scenes(before, after)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    save_file({"0.weight": torch.zeros(1)}, tmp_path / "mobile.safetensors", ABOUT)
    with pytest.raises(ValueError, match="do not fit the network 'mobile'"):
        load_network("mobile", tmp_path)
    (tmp_path / "mobile.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot read the weights"):
        load_network("mobile", tmp_path)


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="unknown network 'residuall': did you mean 'residual'"):
        load_network("residuall")
    with pytest.raises(ValueError, match="unknown set of weights 'reprot': did you mean 'report'"):
        load_network("plain", "reprot")
    with pytest.raises(ValueError, match="no weights of 'plain' in"):
        load_network("plain", tmp_path)


class TestTraining:
    def test_written_weights_are_what_was_measured(self, tmp_path):
        before = torch.get_rng_state()
        (trained,) = train(5, tmp_path / "new", networks=["plain"], scenes=64)
        assert torch.equal(torch.get_rng_state(), before)
        again = load_network("plain", tmp_path / "new")
        x, labels = whole(5, 8)
        assert torch.equal(again.model(x), trained.model(x))
        assert again.seed == 5
        assert accuracy(again.model, x[:4], labels[:4]) == pytest.approx(again.accuracy)
        torch.manual_seed(5)
        assert not torch.equal(again.model(x), network("plain")(x))

    def test_half_of_the_images_lack_parts(self):
        images, labels = drawn(0, 40)
        assert images.shape == (40, 3, 64, 64)
        kinds = [BACKGROUNDS[i // 2 % 2] for i in range(40)]
        scenes = [scene((1, 0, i), classes_seed=0, background=kind) for i, kind in enumerate(kinds)]
        complete = [(draw(one) * 255).round().to(torch.uint8).equal(image) for one, image in zip(scenes, images)]
        assert all(complete[::2])
        assert sum(complete[1::2]) < 4
        assert labels.tolist() == [one.label for one in scenes]
        assert torch.equal(images, drawn(0, 40)[0])

    def test_an_unknown_network_fails_first(self, tmp_path):
        with pytest.raises(ValueError, match="unknown network"):
            train(0, tmp_path, networks=["plain", "vgg"])
        assert list(tmp_path.iterdir()) == []
