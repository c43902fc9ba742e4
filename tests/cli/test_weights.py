"""Weights from files: what is accepted, and what is said about the rest."""

import pickle

import pytest
import torch
import torchvision
from torch import nn

from captum_ad._common.errors import InputError, UnknownNameError
from captum_ad.cli.models import load_classifier
from captum_ad.cli.weights import load_weights

CPU = torch.device("cpu")


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


@pytest.fixture
def state():
    torch.manual_seed(3)
    model = network()
    model[1].running_mean += 0.5
    return model.state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": dict(s)},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    ],
)
def test_state_dicts_are_found_and_loaded(saved, state, wrap):
    model = network()
    load_weights(model, saved(wrap(state)))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_half_precision_weights_leave_the_model_in_full(saved, state):
    model = network()
    load_weights(model, saved({k: v.half() if v.is_floating_point() else v for k, v in state.items()}))
    assert model[0].weight.dtype == torch.float32
    torch.testing.assert_close(model[0].weight.data, state["0.weight"], rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_is_counted_and_named(saved, state):
    state["3.weight"] = torch.zeros(7, 16)
    state["extra.weight"] = state.pop("0.weight")
    path = saved(state)
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert "do not fit Sequential" in message
    assert "1 of 8 keys missing (0.weight)" in message
    assert "1 of 9 keys unexpected (extra.weight)" in message
    assert "1 of 9 of another shape (3.weight)" in message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Anything:
    pass


@pytest.mark.parametrize("content", [3, [1, 2], {}, {"a": 3}, {"state_dict": {"a": "b"}}, torch.zeros(3)])
def test_files_without_a_state_dict(saved, content):
    with pytest.raises(InputError, match="no state dict"):
        load_weights(network(), saved(content))


def test_files_that_are_no_checkpoint(tmp_path, saved, state):
    whole = saved(state).read_bytes()
    contents = [b"", b"no checkpoint", pickle.dumps({"a": 1}), whole[: len(whole) // 2]]
    for i, content in enumerate(contents):
        path = tmp_path / f"{i}.pth"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not a checkpoint|no state dict"):
            load_weights(network(), path)


def test_code_in_a_file_is_not_run(saved):
    with pytest.raises(InputError, match=r"weights_only=True.*state_dict\(\)"):
        load_weights(network(), saved(Anything()))


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_torchvision_models_take_their_weights_from_a_file(saved, name):
    model = torchvision.models.get_model(name, weights=None)
    classifier = load_classifier(f"torchvision:{name}", saved(model.state_dict()), CPU)
    assert not classifier.model.training
    assert all(torch.equal(v, classifier.model.state_dict()[k]) for k, v in model.state_dict().items())
    assert classifier.class_name(281) == "tabby"
    published = torchvision.models.get_model_weights(name).DEFAULT
    assert repr(classifier.transform) == repr(published.transforms())


def test_timm_models_take_theirs_too_and_come_with_their_transform(saved):
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_efficientnet", pretrained=False)
    classifier = load_classifier("timm:test_efficientnet", saved(model.state_dict()), CPU)
    assert all(torch.equal(v, classifier.model.state_dict()[k]) for k, v in model.state_dict().items())
    assert repr(classifier.transform) == repr(timm.data.create_transform(**timm.data.resolve_data_config(model=model)))
    assert classifier.normalization(3)[0] == pytest.approx(model.default_cfg["mean"])
    assert classifier.class_name(281) == "tabby"
    with pytest.raises(UnknownNameError, match="did you mean 'resnet50'"):
        load_classifier("timm:resnet5O", None, CPU)


def test_googlenet_normalizes_as_its_published_weights_want(saved):
    model = torchvision.models.googlenet(weights=None, init_weights=False)
    without_heads = {k: v for k, v in model.state_dict().items() if not k.startswith("aux")}
    classifier = load_classifier("torchvision:googlenet", saved(without_heads), CPU)
    assert classifier.model.transform_input


def test_densenet_takes_the_names_in_its_published_file(saved):
    model = torchvision.models.densenet121(weights=None)
    state = model.state_dict()
    old = {}
    for key, value in state.items():
        for layer in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.") if "denselayer" in key else key
        old[key] = value
    assert set(old) != set(state)
    classifier = load_classifier("torchvision:densenet121", saved(old), CPU)
    assert all(torch.equal(v, state[k]) for k, v in classifier.model.state_dict().items())


def test_the_demo_model_knows_a_cat():
    import skimage.data
    from PIL import Image

    classifier = load_classifier("demo", None, CPU)
    with torch.no_grad():
        for picture, names in (("chelsea", {"tabby", "tiger cat", "Egyptian cat"}), ("coffee", {"espresso"})):
            x = classifier.prepare(Image.fromarray(getattr(skimage.data, picture)()))
            assert classifier.class_name(int(classifier.model(x).argmax())) in names
            shown = classifier.displayed(x)
            assert shown.shape == (224, 224, 3)
            assert shown.std() > 0.05


def test_the_command_says_what_does_not_fit_in_one_line(compare, here):
    torch.save(network().state_dict(), "other.pth")
    assert "keys unexpected" in compare("--weights", "other.pth").error
    (here / "data.pth").write_bytes(pickle.dumps({"a": Anything()}))
    assert "not a checkpoint" in compare("--weights", "data.pth").error


def test_the_command_loads_weights_into_ones_own_model(compare, here, monkeypatch):
    monkeypatch.syspath_prepend(str(here))
    model = load_classifier("tiny_model:tiny", None, CPU).model
    state = {k: torch.zeros_like(v) if k.startswith("8.") else v for k, v in model.state_dict().items()}
    torch.save(state, "zero.pth")
    ran = compare("--weights", "zero.pth", "--methods", "occlusion", "--ad", "paper", "--baselines")
    assert ran.code == 0, ran.err
    assert "confidence 0.20" in ran.out
