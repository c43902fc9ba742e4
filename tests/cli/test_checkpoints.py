"""Checkpoints as training scripts leave them: where the weights are, what stands beside them, heads of another size."""

import argparse
import collections
import datetime
import json
import pathlib

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from captum_ad._common.errors import InputError
from captum_ad.cli.checkpoints import names_of, read_checkpoint
from captum_ad.cli.given import read_class_names
from captum_ad.cli.models import load_classifier
from captum_ad.cli.weights import load_weights

CPU = torch.device("cpu")


def network(classes=5):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes))


@pytest.fixture
def state():
    torch.manual_seed(3)
    return network().state_dict()


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "key", ["state_dict", "model_state_dict", "model", "net", "ema", "model_ema", "state_dict_ema"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "_orig_mod.", "model.module.", "model._orig_mod."])
def test_every_wrapping(saved, state, key, prefix):
    model = network()
    loaded = load_weights(model, saved({key: prefixed(prefix, state), "epoch": 3}))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not loaded.notes
    assert loaded.classes is None


def test_what_stands_beside_the_prefix_is_left_out_and_said(saved, state):
    path = saved({"state_dict": {**prefixed("model.", state), "loss.weight": torch.ones(5)}})
    (note,) = load_weights(network(), path).notes
    assert "'model.'" in note
    assert "1 more (loss.weight)" in note


def test_averaged_models(saved, state):
    averaged = torch.optim.swa_utils.AveragedModel(network())
    averaged.load_state_dict({**averaged.state_dict(), **prefixed("module.", state)})
    model = network()
    load_weights(model, saved(averaged.state_dict()))
    assert torch.equal(model[0].weight, state["0.weight"])


def test_the_raw_weights_come_before_the_averaged_ones_and_that_is_said(saved, state):
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    model = network()
    (note,) = load_weights(model, saved({"ema": other, "model": state})).notes
    assert torch.equal(model[0].weight, state["0.weight"])
    assert "under 'model'" in note
    assert "'ema' as well" in note


def test_a_network_whose_own_names_begin_so_keeps_them(saved):
    class Wraps(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = network()

    state = Wraps().state_dict()
    for content in (state, prefixed("module.", state), prefixed("model.", state)):
        model = Wraps()
        load_weights(model, saved(content))
        assert torch.equal(model.model[0].weight, state["model.0.weight"])


@pytest.mark.parametrize(
    "beside",
    [
        {"args": argparse.Namespace(lr=1, out=pathlib.Path("somewhere"))},
        {"best": np.float64(0.5), "history": [np.float32(1.0), np.int64(3)]},
        {"history": collections.OrderedDict(loss=[1.0])},
    ],
)
def test_plain_settings_beside_the_weights(saved, state, beside):
    load_weights(network(), saved({"model": state, **beside}))


class Config:
    pass


def test_what_could_run_code_is_refused_by_name_and_the_allow_list_is_as_before(saved, state):
    before = set(torch.serialization.get_safe_globals())
    with pytest.raises(InputError, match=r"an object of .*Config.*weights_only=True.*weights_only=False"):
        load_weights(network(), saved({"model": state, "config": Config()}))
    assert set(torch.serialization.get_safe_globals()) == before


def test_safetensors(tmp_path, state):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(prefixed("module.", state), tmp_path / "mine.safetensors")
    model = network()
    load_weights(model, tmp_path / "mine.safetensors")
    assert torch.equal(model[0].weight, state["0.weight"])
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_weights(model, tmp_path / "broken.safetensors")


class TestHeads:
    @pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "vit_b_32"])
    def test_a_known_network_gets_the_classes_of_the_file(self, saved, name):
        fine_tuned = torchvision.models.get_model(name, weights=None, num_classes=7).eval()
        classifier = load_classifier(f"torchvision:{name}", saved(fine_tuned.state_dict()), CPU)
        x = torch.rand(1, 3, 224, 224)
        with torch.no_grad():
            assert torch.equal(classifier.model(x), fine_tuned(x))
        assert classifier.class_name(3) == "class 3"
        assert "7 classes" in " ".join(classifier.notes)
        assert "assumed for weights.pth" in classifier.described_transform

    def test_of_timm(self, saved):
        timm = pytest.importorskip("timm")
        fine_tuned = timm.create_model("test_efficientnet", pretrained=False, num_classes=3).eval()
        classifier = load_classifier("timm:test_efficientnet", saved(fine_tuned.state_dict()), CPU)
        assert classifier.model(torch.rand(1, 3, 64, 64)).shape == (1, 3)

    def test_ones_own_network_is_not_changed(self, saved):
        with pytest.raises(InputError, match=r"of another shape \(3.weight, 3.bias\).*mine.py:make"):
            load_weights(network(), saved(network(7).state_dict()))

    def test_another_width_is_no_head(self, saved):
        wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 5))
        model = network()
        with pytest.raises(InputError, match="of another shape"):
            load_weights(model, saved(wide.state_dict()), resize_head=True)
        assert model[3].out_features == 5

    def test_names_come_with_the_checkpoint(self, saved):
        state = torchvision.models.squeezenet1_1(num_classes=2).state_dict()
        path = saved({"model": state, "args": argparse.Namespace(class_to_idx={"dog": 1, "cat": 0})})
        classifier = load_classifier("torchvision:squeezenet1_1", path, CPU)
        assert [classifier.class_name(i) for i in (0, 1, 2)] == ["cat", "dog", "class 2"]


class TestClassNames:
    @pytest.mark.parametrize(
        "given",
        [
            ["cat", "dog"],
            {"0": "cat", "1": "dog"},
            {0: "cat", 1: "dog"},
            {"dog": 1, "cat": 0},
            {"0": ["n02123045", "cat"], "1": ["n02110341", "dog"]},
        ],
    )
    def test_every_spelling(self, given):
        assert names_of(given) == ["cat", "dog"]

    @pytest.mark.parametrize("given", [None, 3, "cat", [], {}, {"a": "b"}, {"0": "cat", "2": "dog"}, [1, 2], [""]])
    def test_what_is_none(self, given):
        assert names_of(given) == []

    def test_files(self, tmp_path):
        (tmp_path / "names.txt").write_text("cat\n dog \n\n")
        (tmp_path / "names.json").write_text(json.dumps({"cat": 0, "dog": 1}))
        assert read_class_names(tmp_path / "names.txt") == read_class_names(tmp_path / "names.json") == ["cat", "dog"]
        (tmp_path / "bad.json").write_text("{")
        (tmp_path / "empty.txt").write_text("\n")
        for name in ("bad.json", "nowhere.txt"):
            with pytest.raises(InputError, match="cannot read --classes"):
                read_class_names(tmp_path / name)
        with pytest.raises(InputError, match="expected a name per line"):
            read_class_names(tmp_path / "empty.txt")

    def test_no_state_dict_is_no_checkpoint(self, saved):
        with pytest.raises(InputError, match="no state dict"):
            read_checkpoint(saved({"classes": ["cat", "dog"]}))


def test_names_that_are_not_as_many_as_the_outputs_are_left_out(tmp_path, monkeypatch):
    model = torchvision.models.resnet18(num_classes=7)
    torch.save({"state_dict": model.state_dict(), "names": ["train", "val"]}, tmp_path / "split.pth")
    found = load_classifier("torchvision:resnet18", tmp_path / "split.pth", CPU)
    assert not found.class_names
    assert any("names 2 classes, but the network has 7: the names are not used" in note for note in found.notes)
    torch.save({"state_dict": model.state_dict(), "names": list("abcdefg")}, tmp_path / "right.pth")
    assert load_classifier("torchvision:resnet18", tmp_path / "right.pth", CPU).class_names == list("abcdefg")


def test_settings_of_every_kind_beside_the_weights(saved, state):
    beside = {"when": datetime.datetime(2026, 1, 2), "mean": np.ones(3)}
    load_weights(network(), saved({"state_dict": state, **beside}))


def test_what_holds_none_says_what_it_holds(saved, state):
    with pytest.raises(InputError, match=r"has no state dict .*its keys are 'teacher', 'student'"):
        read_checkpoint(saved({"teacher": state, "student": state}))
    with pytest.raises(InputError, match=r"no state dict .*: tuple"):
        read_checkpoint(saved((state, 3)))


def test_a_torchscript_archive_is_called_by_its_name(tmp_path):
    torch.jit.trace(network().eval(), torch.rand(1, 3, 4, 4)).save(str(tmp_path / "jit.pt"))
    with pytest.raises(InputError, match="is a TorchScript archive"):
        read_checkpoint(tmp_path / "jit.pt")


def test_an_empty_line_among_the_names_is_said(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\ndog\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        read_class_names(tmp_path / "names.txt")
