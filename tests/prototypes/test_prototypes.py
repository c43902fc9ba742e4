"""Prototype look-up: the network stays what it was, purity by loops, and patches of which one knows what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.prototypes import Prototypes, patch_worth
from captum_ad.prototypes.purity import purer
from tests.metrics.models import Odd, untouched


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = (nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 3)).eval()


def inputs(n: int = 7, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"image {i}": torch.randn(1, 2, 8, 12, generator=generator) for i in range(n)}


def mixed(angle: float) -> nn.Sequential:
    """Two channels that are the input's, turned by an angle."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    with torch.no_grad():
        model[0].weight.copy_(turn[..., None, None])
    return model.eval()


def spots() -> dict[str, Tensor]:
    """Each image has a bright spot in one of its two channels."""
    found = {}
    for i, (channel, row, column) in enumerate([(0, 0, 1), (0, 2, 2), (1, 3, 0), (1, 1, 3)]):
        x = torch.zeros(1, 2, 4, 4)
        x[0, channel, row, column] = 5 - i / 4
        found[f"{channel} at {row}, {column}"] = x
    return found


class TestFunction:
    @pytest.mark.parametrize("layer", ["4", "5"])
    def test_is_unchanged_where_only_averages_follow(self, layer):
        model, images = network(), inputs()
        found = Prototypes(model, images, layer).disentangled(steps=20)
        turned, fresh = found.network(), torch.randn(5, 2, 8, 12)
        assert not torch.allclose(found.rotation, torch.eye(6), atol=1e-2)
        assert torch.allclose(turned(fresh), model(fresh), atol=1e-5)
        assert not torch.equal(turned[-1].weight, model[-1].weight)

    def test_would_change_where_a_relu_follows_and_that_is_refused(self):
        with pytest.raises(ValueError, match="rotating the map of '3' changes the network's output"):
            Prototypes(network(), inputs(), "3").disentangled(steps=20).network()

    def test_is_compared_on_more_than_an_image_that_sets_off_nothing(self):
        model = network()
        for conv in (model[0], model[3]):
            conv.bias.data.zero_()
        found = Prototypes(model, {"black": torch.zeros(1, 2, 8, 12), **inputs()}, "3").disentangled(steps=20)
        with pytest.raises(ValueError, match="changes the network's output"):
            found.network()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions(self, dtype):
        images = {name: x.to(dtype) for name, x in inputs().items()}
        found = Prototypes(network().to(dtype), images, "4").disentangled(steps=10)
        near = {"atol": 8 * torch.finfo(dtype).eps}
        assert found.rotation.dtype == found.network()(images["image 0"]).dtype == dtype
        assert torch.allclose(found.rotation @ found.rotation.T, torch.eye(6, dtype=dtype), **near)

    def test_in_inference_mode(self):
        expected = Prototypes(network(), inputs(), "4").disentangled(steps=3)
        with torch.inference_mode():
            made = Prototypes(network(), inputs(), "4")
            inside = made.disentangled(steps=3)
            inside.network()
        for found in (inside, made.disentangled(steps=3)):
            assert torch.equal(found.rotation, expected.rotation)
        inside.network()

    def test_outputs_that_hold_logits(self):
        class Holding(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = network()

            def forward(self, x: Tensor) -> dict[str, Tensor]:
                return {"logits": self.net(x)}

        found = Prototypes(Holding().eval(), inputs(), "net.4").disentangled(steps=3)
        x = inputs()["image 0"]
        assert torch.allclose(found.network()(x)["logits"], network()(x), atol=1e-5)
        assert len(found.strongest(x, 1)) == 3

    def test_the_map_is_turned_by_an_orthogonal_matrix(self):
        found = Prototypes(network(), inputs(), "4").disentangled([0, 3, 5], steps=20)
        again = found.disentangled(steps=5)
        for one in (found, again):
            assert torch.allclose(one.rotation @ one.rotation.T, torch.eye(6), atol=1e-5)
            assert float(torch.linalg.det(one.rotation)) == pytest.approx(1, abs=1e-5)
        barely = found.disentangled(steps=1, learning_rate=1e-6)  # begins where the last one ended
        assert torch.allclose(barely.rotation, found.rotation, atol=1e-4)
        maps, chosen = Prototypes(network(), inputs(), "4").maps, [0, 3, 5]
        turn = purer(maps[:, chosen], maps.norm(dim=1), 5, 20, 0.02)  # lengths are those of all channels
        assert torch.allclose(found.rotation[chosen][:, chosen], turn, atol=1e-5)
        others = [1, 2, 4]
        assert torch.equal(found.rotation[others], torch.eye(6)[others])
        x = inputs(1, seed=9)["image 0"]
        plain = Prototypes(network(), inputs(), "4").turned(x)
        assert torch.allclose(found.turned(x), torch.einsum("kc,nchw->nkhw", found.rotation, plain))

    def test_nothing_of_the_model_changes(self):
        model, images = network(), inputs()
        with untouched(model, *images.values()):
            found = Prototypes(model, images, "4")
            found.disentangled(steps=3).network()
            found.within(images["image 1"], 2)


class TestPurity:
    def test_loops(self):
        model, images = network(), inputs()
        found = Prototypes(model, images, "4", batch_size=3)
        stem = model[:5]
        for channel in range(6):
            highest = []
            for x in images.values():
                z = stem(x)[0].detach()
                best = max(
                    ((float(z[channel, i, j]), i, j) for i in range(4) for j in range(6)), key=lambda one: one[0]
                )
                length = math.sqrt(sum(float(z[c, best[1], best[2]]) ** 2 for c in range(6)))
                highest.append((best[0], best[0] / length if length else 0.0))
            expected = [purity for _, purity in sorted(highest, reverse=True)[:3]]
            assert float(found.purity(3)[channel]) == pytest.approx(sum(expected) / 3, abs=1e-5)
            assert [one.purity for one in found.of(channel, 3)] == pytest.approx(expected, abs=1e-5)

    def test_grows(self):
        before = Prototypes(network(), inputs(), "4")
        after = before.disentangled(steps=40)
        assert float(after.purity().mean()) > float(before.purity().mean()) + 0.02

    @pytest.mark.parametrize("angle", [0.3, 0.6])
    def test_channels_that_were_mixed_are_found_again(self, angle):
        before = Prototypes(mixed(angle), spots(), "0")
        assert before.purity(2).tolist() == pytest.approx([math.cos(angle)] * 2, abs=1e-5)
        after = before.disentangled(count=2, steps=200, learning_rate=0.01)
        assert after.purity(2).tolist() == pytest.approx([1, 1], abs=1e-3)
        assert [[one.image[0] for one in after.of(channel, 2)] for channel in (0, 1)] == [["0", "0"], ["1", "1"]]


class TestPatches:
    def test_are_where_the_spots_are(self):
        found = Prototypes(mixed(0), spots(), "1").of(0, 2, cells=1)
        assert [(one.image, one.box) for one in found] == [("0 at 0, 1", (1, 0, 2, 1)), ("0 at 2, 2", (2, 2, 3, 3))]
        assert [one.response for one in found] == pytest.approx([5, 4.75])
        assert (~found[0].mask).nonzero().tolist() == [[0, 1]]

    def test_end_at_the_border_and_have_the_input_s_pixels(self):
        found = Prototypes(network(), inputs(), "4")
        for one in found.of(2, 7):
            left, top, right, bottom = one.box
            assert (left % 2, top % 2) == (0, 0)
            assert 0 <= left < right <= 12
            assert 0 <= top < bottom <= 8
            assert int((~one.mask).sum()) == (right - left) * (bottom - top) <= 36
        assert [one.image for one in found.of(2, 99)] == [one.image for one in found.of(2, 7)]

    def test_are_worth_what_hiding_them_takes_away(self):
        model, images = mixed(0), spots()
        with torch.no_grad():
            model[3].weight.copy_(torch.tensor([[4.0, 0], [0, 4]]))
            model[3].bias.zero_()
        found, x = Prototypes(model, images, "0"), images["0 at 2, 2"]
        patch = found.within(x, 0, cells=1)
        whole = float(torch.sigmoid(torch.tensor(4 * 4.75 / 16)))
        for forward, baseline in ((ADForward(model, "paper"), None), (model, "zero")):
            assert float(patch_worth(forward, x, patch, 0, baseline=baseline)) == pytest.approx(whole - 0.5, abs=1e-6)
        for name in ("avg", "blur", "max"):
            without = float(BaselineForward(model, name)(x, mask=patch.mask).softmax(1)[0, 0])
            assert float(patch_worth(model, x, patch, 0, baseline=name)) == pytest.approx(whole - without, abs=1e-6)
        elsewhere = found.within(images["1 at 3, 0"], 1, cells=1)
        both = patch_worth(ADForward(model, "paper"), x, [patch, elsewhere], 0)
        assert both.tolist() == pytest.approx([whole - 0.5, 0], abs=1e-6)
        with pytest.raises(ValueError, match="at least one patch"):
            patch_worth(ADForward(model), x, [], 0)

    def test_of_another_image_are_where_the_turned_channel_is_highest(self):
        found, x = Prototypes(network(), inputs(), "4").disentangled(steps=20), inputs(1, seed=9)["image 0"]
        for channel in range(6):
            assert found.within(x, channel).response == pytest.approx(float(found.turned(x)[0, channel].max()))

    def test_strongest_channels(self):
        model, images = network(), inputs()
        for found in (Prototypes(model, images, "4"), Prototypes(model, images, "4").disentangled(steps=10)):
            x = images["image 3"]
            weights = found.network()[-1].weight[1]
            given = (found.turned(x)[0].mean((1, 2)) * weights).tolist()
            assert found.strongest(x, 1, 2) == sorted(range(6), key=lambda c: -given[c])[:2]


class TestFolder:
    def test_images_of_a_folder(self, tmp_path):
        for i in range(3):
            pixels = np.full((8, 12, 3), 60 * i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")

        def transform(image):
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)[:2] / 255

        found = Prototypes(mixed(0), tmp_path, "0", transform=transform, show_progress=True)
        assert [one.image for one in found.of(0, 2)] == ["2", "1"]
        with pytest.raises(ValueError, match="needs transform="):
            Prototypes(mixed(0), str(tmp_path), "0")

    def test_no_folder(self, tmp_path):
        with pytest.raises(ValueError, match="nowhere"):
            Prototypes(mixed(0), tmp_path / "nowhere", "0", transform=lambda image: torch.rand(2, 4, 4))


class TestBadInput:
    @pytest.mark.parametrize(
        ("layer", "error", "match"),
        [
            ("paire", UnknownNameError, "unknown layer 'paire': did you mean 'pair'"),
            ("", UnknownNameError, "unknown layer ''"),
            ("unused", ValueError, "'unused' did not run"),
            ("pair", ValueError, "'pair' returned tuple, expected a map"),
            ("head", ValueError, r"'head' returned \(1, 3\), expected a map"),
        ],
    )
    def test_layers(self, layer, error, match):
        with pytest.raises(error, match=match):
            Prototypes(Odd().eval(), spots(), layer, batch_size=1)

    def test_images(self):
        with pytest.raises(ValueError, match="got no images"):
            Prototypes(network(), {}, "4")
        with pytest.raises(ValueError, match=r"'a' has shape \(2, 8, 8\)"):
            Prototypes(network(), {"a": torch.rand(2, 8, 8)}, "4")
        with pytest.raises(ValueError, match="have 2 sizes"):
            Prototypes(network(), {**inputs(1), "a": torch.rand(1, 2, 8, 8)}, "4")
        with pytest.raises(ValueError, match="train mode"):
            Prototypes(network().train(), inputs(), "4")
        with pytest.raises(ValueError, match=r"the image must have shape \(1, C, 8, 12\)"):
            Prototypes(network(), inputs(), "4").within(torch.rand(1, 2, 8, 8), 0)

    def test_images_whose_map_holds_nan(self):
        with pytest.raises(ValueError, match="NaN or Inf for image 'bad'"):
            Prototypes(network(), {**inputs(), "bad": torch.full((1, 2, 8, 12), math.nan)}, "4")

    def test_classes_that_the_linear_layer_does_not_give(self):
        """MobileNetV3's, say: the linear layer behind the pooling has hidden units."""
        model = nn.Sequential(*network()[:7], nn.Linear(6, 9), nn.Hardswish(), nn.Linear(9, 3)).eval()
        found = Prototypes(model, inputs(), "4")
        with pytest.raises(ValueError, match="network's output is not that of the linear layer"):
            found.strongest(inputs(1)["image 0"], 8)
        found.disentangled(steps=3).network()  # computes what it did all the same

    def test_numbers(self):
        found = Prototypes(network(), inputs(), "4")
        x = inputs(1)["image 0"]
        with pytest.raises(ValueError, match="steps must be an integer of at least 1"):
            found.disentangled(steps=0)
        with pytest.raises(ValueError, match="learning_rate must be a positive number, got nan"):
            found.disentangled(learning_rate=math.nan)
        with pytest.raises(ValueError, match="count must be an integer of at least 1"):
            found.strongest(x, 0, count=-1)
        with pytest.raises(ValueError, match="expected one input"):
            found.strongest(torch.cat([x, x]), 0)
        with pytest.raises(ValueError, match="channel must be 0 to 5, got 6"):
            found.of(6)
        with pytest.raises(ValueError, match="count must be"):
            found.purity(0)
        with pytest.raises(ValueError, match="cells must be an odd number"):
            found.of(0, cells=2)
        with pytest.raises(ValueError, match="at least two different channels"):
            found.disentangled([1, 1])
        with pytest.raises(ValueError, match="target must be a class index, 0 to 2"):
            found.strongest(inputs(1)["image 0"], 3)

    def test_a_map_that_no_linear_layer_reads(self):
        found = Prototypes(network(), inputs(), "1")
        with pytest.raises(ValueError, match="no linear layer takes the 4 averaged channels of '1'"):
            found.network()
