"""BaselineForward and the names of maskings: missing features painted, everything else as it was."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import captum_ad
from captum_ad import PRESETS, ADForward, BaselineForward, MaskRule, UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import MASKING_VALUES, masked_forward
from captum_ad.baselines import BASELINES, baseline
from tests.forwards.baseline_forward.models import SEEDS, Seen, network, randn

# What is painted


MASKS = {
    "(*spatial)": lambda kept: kept[0, 0],
    "(1, *spatial)": lambda kept: kept[:1, 0],
    "(N, *spatial)": lambda kept: kept[:, 0],
    "(1, 1, *spatial)": lambda kept: kept[:1, :1],
    "(N, 1, *spatial)": lambda kept: kept[:, :1],
    "(1, C, *spatial)": lambda kept: kept[:1],
    "(N, C, *spatial)": lambda kept: kept,
}


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 6), (2, 2, 3, 2, 3)])
@pytest.mark.parametrize("written", MASKS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64])
def test_every_shape_of_a_mask_paints_what_it_hides(shape, written, dtype):
    x, mask = randn(0, *shape), MASKS[written](randn(1, *shape) > 0)
    leading = mask.dim() - (len(shape) - 2)
    mask_of = mask.reshape((1,) * (2 - leading) + mask.shape) if leading != 1 else mask.unsqueeze(1)
    expected = torch.where(mask_of.expand(shape), x, 7.0)
    assert torch.equal(BaselineForward(Seen(), 7)(x, mask=mask.to(dtype)), expected)
    assert torch.equal(BaselineForward(Seen(), 7).painted(x, mask.to(dtype)), expected)


@given(SEEDS)
def test_without_a_mask_it_is_the_model_bit_for_bit(seed):
    model, x = network(), randn(seed, 2, 3, 8, 8)
    for given_ in (*MASKING_VALUES, 0.5, randn(1, 3, 1, 1), lambda x, mask: x + 1):
        forward = BaselineForward(model, given_)
        assert torch.equal(forward(x), model(x))
        assert torch.equal(forward(x, mask=torch.ones(8, 8)), model(x))


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "blur"])
def test_named_baselines_are_of_each_sample_whole(x, name):
    """Of the hidden values too, as ever in occlusion."""
    value = {"zero": lambda s: 0.0, "min": torch.min, "max": torch.max, "avg": torch.mean}[name]
    painted = BaselineForward(Seen(), name)(x, mask=torch.zeros(8, 8))
    for sample, fill in zip(x, painted):
        torch.testing.assert_close(fill, torch.full_like(sample, float(value(sample))))


@pytest.mark.parametrize("name", BASELINES)
def test_named_baselines_are_those_of_the_function(x, name):
    assert torch.equal(BaselineForward(Seen(), name)(x, mask=torch.zeros(8, 8)), baseline(name, x))


@pytest.mark.parametrize("name", BASELINES)
def test_an_image_repeated_without_memory_is_painted_like_one_that_has_it(x, name):
    """A batch of one image under many masks, as the metrics run it."""
    repeated, masks = x[:1].expand(5, 3, 8, 8), randn(2, 5, 8, 8) > 0
    expanded = BaselineForward(Seen(), name)(repeated, mask=masks)
    torch.testing.assert_close(expanded, BaselineForward(Seen(), name)(repeated.contiguous(), mask=masks))


@pytest.mark.parametrize("shape", [(), (8,), (3, 1, 1), (1, 3, 8, 8), (2, 1, 8, 8)])
def test_tensors_are_broadcast(x, shape):
    paint, mask = randn(3, *shape), randn(4, 8, 8) > 0
    expected = torch.where(mask, x, paint.expand_as(x))
    assert torch.equal(BaselineForward(Seen(), paint)(x, mask=mask), expected)
    assert torch.equal(BaselineForward(Seen(), paint.double())(x, mask=mask), expected)


@pytest.mark.parametrize("mask_shape", [(8, 8), (2, 8, 8), (1, 3, 8, 8)])
def test_functions_get_the_input_and_booleans_for_each_sample(x, mask_shape):
    calls = []

    def paint(image, kept):
        calls.append((image, kept))
        return torch.full_like(image, 9)

    mask = randn(4, *mask_shape) > 0
    painted = BaselineForward(Seen(), paint)(x, mask=mask.float())
    ((image, kept),) = calls
    assert image is x
    assert kept.dtype == torch.bool
    assert kept.shape in ((2, 1, 8, 8), (2, 3, 8, 8))
    assert torch.equal(painted, torch.where(kept, x, 9.0))


def test_what_is_kept_is_the_inputs_whatever_a_function_returns(x):
    mask = randn(4, 8, 8) > 0
    for paint in (lambda x, mask: x * torch.nan, lambda x, mask: x.new_full((), torch.inf)):
        painted = BaselineForward(Seen(), paint)(x, mask=mask)
        assert torch.equal(painted[..., mask], x[..., mask])
        assert not painted[..., ~mask].isfinite().any()


@given(SEEDS, st.sampled_from([1e30, torch.nan, torch.inf, -torch.inf]))
def test_what_stands_behind_the_mask_has_no_influence_on_a_baseline_of_its_own(seed, junk):
    x, mask = randn(seed, 2, 3, 8, 8), randn(seed + 1, 2, 8, 8) > 0
    hidden = torch.where(mask[:, None], x, junk)
    for given_ in (0.3, "zero", randn(1, 3, 1, 1), randn(1, 2, 3, 8, 8), "inpaint", "linear"):
        forward = BaselineForward(network(), given_)
        assert torch.equal(forward(hidden, mask=mask), forward(x, mask=mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("given_", [*MASKING_VALUES, 0.1, randn(0, 3, 1, 1), lambda x, mask: x.float() + 1])
def test_the_input_s_type_stays(x, dtype, given_):
    painted = BaselineForward(Seen(), given_)(x.to(dtype), mask=randn(4, 8, 8) > 0)
    assert painted.dtype == dtype


def test_the_input_the_mask_and_the_model_are_not_changed(x):
    model, mask = network(), randn(4, 8, 8) > 0
    before = [tensor.clone() for tensor in (x, mask, *model.state_dict().values())]
    for given_ in (*MASKING_VALUES, 0.5, randn(1, 3, 1, 1)):
        BaselineForward(model, given_)(x, mask=mask)
    after = (x, mask, *model.state_dict().values())
    assert all(torch.equal(one, other) for one, other in zip(before, after))
    assert not model.training


@pytest.mark.parametrize("given_", ["zero", 0.5, "inpaint", "linear"])
def test_gradients_reach_what_is_kept_and_nothing_else(x, given_):
    mask, x = randn(4, 8, 8) > 0, x.requires_grad_()
    BaselineForward(Seen(), given_)(x, mask=mask).sum().backward()
    assert torch.equal(x.grad, mask.float().expand_as(x))


def test_other_arguments_reach_the_model(x):
    class Two(nn.Module):
        def forward(self, image, scale, shift=0.0):
            return scale * image + shift

    mask, expected = randn(4, 8, 8) > 0, None
    forward = BaselineForward(Two().eval(), 0)
    expected = 2 * torch.where(mask, x, 0) + 1
    assert torch.equal(forward(x, 2.0, mask=mask, shift=1.0), expected)
    assert torch.equal(forward(x, 2.0, mask=(mask, None), shift=1.0), expected)
    assert torch.equal(forward(x, 2.0, mask=(None, None)), 2 * x)


def test_it_is_in_the_mode_of_its_model():
    assert not BaselineForward(network(), 0).training
    assert BaselineForward(network().train(), 0).training


def test_repr_shows_the_baseline():
    assert "baseline='avg'" in repr(BaselineForward(Seen(), "avg"))
    assert "baseline=(3, 1, 1)" in repr(BaselineForward(Seen(), torch.zeros(3, 1, 1)))


# What is refused


@pytest.mark.parametrize(
    ("model", "given_", "error", "message"),
    [
        (BaselineForward(Seen(), 0), 0, TypeError, "is already a BaselineForward: wrap its .model"),
        (ADForward(Seen().eval()), 0, TypeError, "is already an ADForward: wrap its .model"),
        (lambda x: x, 0, TypeError, r"torch\.nn\.Module, got function; wrap"),
        (Seen(), None, TypeError, "a name, a value, a tensor or a function, got NoneType"),
        (Seen(), [0.0], TypeError, "got list"),
        (Seen(), np.zeros((3, 8, 8)), TypeError, "got ndarray"),
        (Seen(), "zeros", UnknownNameError, "unknown baseline 'zeros': did you mean 'zero'"),
        (Seen(), "ad:paper", UnknownNameError, "unknown baseline 'ad:paper'"),
        (Seen(), "", UnknownNameError, "expected one of avg, blur, boundary-normal, inpaint, linear, max, min, zero"),
    ],
)
def test_what_is_no_model_or_no_baseline_is_refused(model, given_, error, message):
    with pytest.raises(error, match=message):
        BaselineForward(model, given_)


@pytest.mark.parametrize(
    ("given_", "mask", "error", "message"),
    [
        (0, torch.ones(8, 7), ValueError, r"mask has shape \(8, 7\), which does not fit the input \(2, 3, 8, 8\)"),
        (0, torch.ones(3, 8, 8), ValueError, r"\(3, 8, 8\)"),
        (0, torch.full((8, 8), 0.5), ValueError, "other than 0 and 1"),
        (0, [[True]], TypeError, "must be a Tensor, .*got list"),
        (0, (torch.ones(8, 8), None), ValueError, "tuple of 2 for 1 inputs"),
        (0, (), ValueError, "tuple of 0 for 1 inputs"),
        (torch.zeros(3), torch.ones(8, 8), ValueError, r"shape \(3,\), which does not broadcast to .*\(2, 3, 8, 8\)"),
        (torch.zeros(1, 2, 3, 8, 8), torch.ones(8, 8), ValueError, "does not broadcast"),
        (lambda x, mask: 0.0, torch.ones(8, 8), TypeError, "function returned float, expected a tensor"),
        (lambda x, mask: x[:, :2], torch.ones(8, 8), ValueError, r"\(2, 2, 8, 8\), which does not broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(x, given_, mask, error, message):
    with pytest.raises(error, match=message):
        BaselineForward(Seen(), given_)(x, mask=mask)


def test_whole_numbers_are_painted_as_floats():
    x = torch.full((1, 1, 2, 2), 7, dtype=torch.uint8)
    kept = torch.tensor([[1, 0], [1, 1]])
    painted = BaselineForward(Seen(), 0.5).painted(x, kept)
    assert painted.tolist() == [[[[7.0, 0.5], [7.0, 7.0]]]]


# Names of maskings, and extras


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_make_an_adforward(preset):
    model = network()
    forward = masked_forward(model, f"ad:{preset}")
    assert isinstance(forward, ADForward)
    assert forward.model is model
    assert forward.rule == PRESETS[preset]


def test_rules_make_an_adforward():
    rule = MaskRule(average="active")
    assert masked_forward(network(), rule).rule is rule


@pytest.mark.parametrize("masking", [*MASKING_VALUES, 0, 0.5, torch.zeros(3, 1, 1), torch.zeros_like])
def test_all_else_makes_a_baselineforward(masking):
    model = network()
    forward = masked_forward(model, masking)
    assert isinstance(forward, BaselineForward)
    assert forward.model is model
    assert forward.baseline is masking


@pytest.mark.parametrize("masking", ["", "paper", "ad:", "ad:papers", "AD:paper", "zeros", "ad"])
def test_unknown_names_are_refused(masking):
    with pytest.raises(UnknownNameError, match="unknown"):
        masked_forward(network(), masking)


def test_a_name_that_is_nearly_right_is_put_right():
    with pytest.raises(UnknownNameError, match="'ad:no-growth'"):
        masked_forward(network(), "no-growth")
    with pytest.raises(UnknownNameError, match="'paper'"):
        masked_forward(network(), "ad:papr")


@pytest.mark.parametrize("masking", ["ad:paper", MaskRule(), "zero", 0.0])
def test_a_forward_that_masks_already_is_not_wrapped_again(masking):
    """Its own masking would win, or be lost."""
    for wrapped in (ADForward(network()), BaselineForward(network(), 0.5)):
        with pytest.raises(TypeError, match=f"already an? {type(wrapped).__name__}"):
            masked_forward(wrapped, masking)


def test_needed_gives_the_module():
    assert needed("collections.abc", "python", "none") is __import__("collections.abc").abc


def test_needed_says_how_to_install_what_is_missing():
    with pytest.raises(ImportError, match=r'this needs Foo: pip install .*"\.\[bar\]"') as caught:
        needed("captum_ad_no_such_module", "Foo", "bar")
    assert isinstance(caught.value.__cause__, ImportError)


def test_every_extra_that_an_error_names_exists():
    """Extras that pip does not know it skips with a warning, and the error comes again."""
    package = Path(inspect.getfile(captum_ad)).parent
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py")))
    named = set(re.findall(r'needed\("[\w.]+", "[^"]+", "([\w-]+)"\)', sources))
    named |= set(re.findall(r"captum_ad\[([\w-]+)\]", sources))
    project = (package.parent / "pyproject.toml").read_text(encoding="utf-8")
    table = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    assert {"metrics", "inpaint"} <= named
    assert named <= set(re.findall(r"^([\w-]+) = \[", table, re.MULTILINE))
