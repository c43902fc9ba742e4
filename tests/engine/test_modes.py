"""The ways in which people run models: both properties hold, and the answer is that of the plain network."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import fusion, parametrizations
from torch.utils.checkpoint import checkpoint

from captum_ad import PRESETS, ADForward
from tests.networks import CHANNELS

X = torch.randn(2, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0))
HALF = torch.arange(8).expand(8, 8) < 4
MASK = torch.stack([torch.ones_like(HALF), HALF])


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(CHANNELS, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.layer = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.SiLU())
        self.head = nn.Linear(6, 4)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.max_pool2d(x + self.layer(x), 2)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Checkpointed(Network):
    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.layer = _Checkpointed(self.layer, use_reentrant)


class _Checkpointed(nn.Module):
    def __init__(self, layer: nn.Module, use_reentrant: bool) -> None:
        super().__init__()
        self.layer, self.use_reentrant = layer, use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layer, x, use_reentrant=self.use_reentrant)


class WithState(Network):
    """Counts its calls, in Python and in a buffer, and passes maps through an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.maps = 0, []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        self.maps = [F.relu(self.norm(self.stem(x)))]
        self.maps.append(self.maps[-1] + self.layer(self.maps[-1]))
        return self.head(F.max_pool2d(self.maps.pop(), 2).mean((2, 3)))


def changed(change: Callable[[Network], Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = Network().eval()
        return change(model) or model

    return make


def with_hooks(model: Network) -> None:
    model.layer.register_forward_pre_hook(lambda module, args: (args[0] * 1,))
    model.layer.register_forward_hook(lambda module, args, out: out + 0)
    model.stem.register_full_backward_hook(lambda module, inner, outer: None)


def with_tied_weights(model: Network) -> None:
    model.layer.append(nn.Conv2d(6, 6, 3, padding=1))
    model.layer[2].weight = model.layer[0].weight
    model.layer.append(model.layer[0])  # and a module that is called twice


def with_old_norms(model: Network) -> None:
    nn.utils.weight_norm(model.stem)
    nn.utils.spectral_norm(model.layer[0]).eval()


def fused(model: Network) -> None:
    model.stem, model.norm = fusion.fuse_conv_bn_eval(model.stem, model.norm), nn.Identity()


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(X)
    return model.eval()


def replicated(model: Network) -> nn.Module:
    """What DataParallel makes on each device: parameters are plain tensors."""
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            replica._modules[name] = replicas[child]
        for name, parameter in module._parameters.items():
            setattr(replica, name, parameter * 1)
    return replicas[model]


def in_dtype(dtype: torch.dtype) -> Callable[[], nn.Module]:
    return changed(lambda model: model.to(dtype))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "as it is": changed(lambda model: None),
    "float16": in_dtype(torch.float16),
    "bfloat16": in_dtype(torch.bfloat16),
    "float64": in_dtype(torch.float64),
    "channels last": changed(lambda model: model.to(memory_format=torch.channels_last)),
    "fx": changed(torch.fx.symbolic_trace),
    "hooks": changed(with_hooks),
    "tied weights": changed(with_tied_weights),
    "fused": changed(fused),
    "weight norm": changed(lambda model: parametrizations.weight_norm(model.stem) and None),
    "spectral norm": changed(lambda model: parametrizations.spectral_norm(model.stem).eval() and None),
    "old weight norm": changed(with_old_norms),
    "lazy": lazy,
    "state": lambda: WithState().eval(),
    "checkpointed": lambda: Checkpointed(use_reentrant=False).eval(),
    "checkpointed, reentrant": lambda: Checkpointed(use_reentrant=True).eval(),
    "data parallel": changed(nn.DataParallel),
    "replica": changed(replicated),
    "synchronized norms": changed(nn.SyncBatchNorm.convert_sync_batchnorm),
}
SAME = ("fx", "hooks", "checkpointed", "checkpointed, reentrant", "data parallel", "replica", "synchronized norms")
CONTEXTS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast, bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast, float16": lambda: torch.autocast("cpu", torch.float16),
    "a device": lambda: torch.device("cpu"),
}


def assert_properties(ad: Callable[..., Tensor], model: nn.Module, x: Tensor) -> Tensor:
    """Theorem 1, and missing means missing; the output under `MASK`."""
    plain = model(x)
    assert torch.equal(ad(x), plain)
    assert torch.equal(ad(x, mask=torch.ones_like(HALF)), plain)
    out = ad(x, mask=MASK)
    assert (out.dtype, out.shape) == (plain.dtype, plain.shape)
    assert torch.equal(out[0], plain[0])
    assert not torch.equal(out[1], plain[1])
    for junk in (float("nan"), float("inf"), 1e4):
        assert torch.equal(ad(torch.where(MASK[:, None], x, torch.tensor(junk, dtype=x.dtype)), mask=MASK), out)
    return out


@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, rule: str) -> None:
    model = MODELS[name]()
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    x = X.to(dtype)
    if name == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        out = assert_properties(ADForward(model, rule), model, x)
        if name in SAME:
            assert torch.equal(out, ADForward(Network().eval(), rule)(X, mask=MASK))
    if not name.startswith("checkpointed"):
        x = x.clone().requires_grad_()
        gradient = torch.autograd.grad(ADForward(model, rule)(x, mask=MASK).sum(), x)[0]
        assert gradient.isfinite().all()
        assert not gradient[1, :, :, 4:].any()
        assert gradient[1].any()


def test_quantized_behind_the_mask() -> None:
    """One sample at a time: torch quantizes by the range of the whole batch."""
    model = quantize_dynamic(Network().eval(), {nn.Linear})
    ad, x = ADForward(model), X[:1]
    assert torch.equal(ad(x), model(x))
    out = ad(x, mask=HALF)
    assert torch.equal(ad(torch.where(HALF, x, float("nan"))), out)
    torch.testing.assert_close(out, ADForward(Network().eval())(x, mask=HALF), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts(name: str) -> None:
    model = Network().eval()
    with CONTEXTS[name]():
        out = assert_properties(ADForward(model), model, X)
    torch.testing.assert_close(out.float(), ADForward(model)(X, mask=MASK), rtol=0.05, atol=0.02)
    if "autocast" in name:
        assert out.dtype != torch.float32
    else:
        assert torch.equal(out, ADForward(model)(X, mask=MASK))


def test_feature_extractors() -> None:
    feature_extraction = pytest.importorskip("torchvision.models.feature_extraction")
    model = Network().eval()
    extractor = feature_extraction.create_feature_extractor(model, {"layer": "out"})
    ad = ADForward(extractor, select=lambda output: output["out"])
    part = nn.Sequential(model.stem, model.norm, nn.ReLU(), model.layer)
    assert torch.equal(ad(X, mask=MASK), ADForward(part)(X, mask=MASK))


def saved(ad: ADForward) -> ADForward:
    file = io.BytesIO()
    torch.save(ad, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda ad: pickle.loads(pickle.dumps(ad)), saved])
def test_copies(copied: Callable[[ADForward], ADForward]) -> None:
    ad = ADForward(Network().eval(), "no-growth", tau=0.25)
    again = copied(ad)
    assert (again.rule, again.tau) == (ad.rule, ad.tau)
    assert torch.equal(again(X, mask=MASK), ad(X, mask=MASK))


def test_data_parallel_around() -> None:
    model = Network().eval()
    assert_properties(nn.DataParallel(ADForward(model)), model, X)


def test_functional_call() -> None:
    ad, other = ADForward(Network().eval()), Network().eval()
    with torch.no_grad():
        other.head.weight.mul_(2)
    weights = {f"model.{name}": value * 1 for name, value in other.state_dict().items()}
    out = torch.func.functional_call(ad, weights, (X,), {"mask": MASK})
    assert torch.equal(out, ADForward(other)(X, mask=MASK))


def test_second_derivatives() -> None:
    """By backward twice, and vectorized backward, which torch runs under vmap."""
    ad = ADForward(Network().eval().double())
    x = X.double()
    jacobian = torch.autograd.functional.jacobian(lambda x: ad(x, mask=MASK), x, vectorize=True)
    assert torch.equal(jacobian, torch.autograd.functional.jacobian(lambda x: ad(x, mask=MASK), x))
    _, product = torch.autograd.functional.hvp(lambda x: ad(x, mask=MASK).square().sum(), x, torch.ones_like(x))
    assert product.any()
    assert not product[1, :, :, 4:].any()


def test_several_around_one_model() -> None:
    model = Network().eval()
    wrapped = [ADForward(model), ADForward(model, "no-growth"), ADForward(model, tau=0.5)]
    masks = [MASK, ~MASK, MASK.flip(0)]
    expected = [[ADForward(Network().eval(), ad.rule, tau=ad.tau)(X, mask=m) for m in masks] for ad in wrapped]
    for mask, row in zip(masks, zip(*expected)):  # alternating
        for ad, out in zip(wrapped, row):
            assert torch.equal(ad(X, mask=mask), out)
    found: list[Any] = []

    def explain(which: int) -> None:
        with contextlib.suppress(BaseException):  # what fails is not counted
            for _ in range(5):
                outs = [wrapped[which](X, mask=mask) for mask in masks]
                found.append(all(torch.equal(out, e) for out, e in zip(outs, expected[which])))

    threads = [threading.Thread(target=explain, args=(which,)) for which in (0, 1, 2, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


def test_one_inside_of_another() -> None:
    """Its own masks come from its own calls; the outer one's mask passes through."""
    model = Network().eval()
    ad = ADForward(nn.Sequential(nn.Identity(), ADForward(model)).eval())
    assert torch.equal(ad(X, mask=MASK), ADForward(model)(X, mask=MASK))


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpointed_adforward(use_reentrant: bool) -> None:
    ad, gradients = ADForward(Network().eval()), []
    for run in (ad, lambda x, mask: checkpoint(lambda x: ad(x, mask=mask), x, use_reentrant=use_reentrant)):
        x = X.clone().requires_grad_()
        run(x, mask=MASK).square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
