"""Targets that are classes: scores, probabilities and what keeps the answer; all agree with an index."""

import pytest
import torch
from captum.attr import FeatureAblation, Occlusion, Saliency
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.metrics import (
    SolidColors,
    compare,
    deletion_curve,
    insertion_curve,
    rho_robustness,
    sufficient_explanation,
)
from captum_ad.targets import Binary, Class, Contrast, Group, MultiLabel, Regression, Target

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])


def network(classes: int) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, classes)
    ).eval()
    model[-1].weight.data *= 5
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(2))


class TestByHand:
    def test_class(self) -> None:
        target = Class("b", names={0: "a", 1: "b", 2: "c"})
        assert torch.equal(target.score(LOGITS), LOGITS[:, 1])
        torch.testing.assert_close(target.confidence(LOGITS), LOGITS.softmax(1)[:, 1])
        assert target.kept(LOGITS).tolist() == [False, True]
        ended = Class(1, to_confidence="none")
        assert torch.equal(ended.confidence(LOGITS.softmax(1)), LOGITS.softmax(1)[:, 1])
        assert not Class(0).kept(torch.zeros(1, 2)).any()  # a tie

    def test_multilabel_knows_no_other_label(self) -> None:
        target = MultiLabel(2, threshold=0.7)
        outputs = torch.tensor([[9.0, 9.0, 1.0], [-9.0, -9.0, 0.8]])
        assert target.kept(outputs).tolist() == [True, False]  # σ(1) = .73, σ(.8) = .69
        torch.testing.assert_close(target.confidence(outputs), outputs[:, 2].sigmoid())
        assert MultiLabel(0, to_confidence="none").kept(torch.tensor([[0.6, 0.0]])).tolist() == [True]

    @pytest.mark.parametrize("positive", [0, 1])
    def test_binary_is_the_same_by_one_logit_and_by_two(self, positive: int) -> None:
        two = torch.tensor([[1.0, 3.0], [0.5, -1.0]])
        one, target = two[:, 1:] - two[:, :1], Binary(positive)
        for readout in (one, one[:, 0], two):
            torch.testing.assert_close(target.confidence(readout), two.softmax(1)[:, positive])
            assert target.kept(readout).tolist() == [positive == 1, positive == 0]
        ended = Binary(positive, to_confidence="none")
        torch.testing.assert_close(ended.confidence(one.sigmoid()), target.confidence(one))
        torch.testing.assert_close(ended.confidence(two.softmax(1)), target.confidence(one))

    def test_group_of_one_is_a_class_and_of_several_any_of_them(self) -> None:
        for method in ("score", "confidence", "kept"):
            alone, same = getattr(Group([1]), method)(LOGITS), getattr(Class(1), method)(LOGITS)
            torch.testing.assert_close(alone, same)
        dogs = Group([0, 2])
        torch.testing.assert_close(dogs.confidence(LOGITS), 1 - LOGITS.softmax(1)[:, 1])
        assert dogs.kept(LOGITS).tolist() == [True, False]
        assert Group([0, 1, 2]).kept(LOGITS).all()

    def test_contrast_is_the_difference_of_logits_or_of_groups(self) -> None:
        assert torch.equal(Contrast(0, 1).score(LOGITS), LOGITS[:, 0] - LOGITS[:, 1])
        p = LOGITS.softmax(1)
        torch.testing.assert_close(Contrast(0, 2).confidence(LOGITS), p[:, 0] / (p[:, 0] + p[:, 2]))
        pair = Contrast(Group([0, 2]), 1)
        torch.testing.assert_close(pair.score(LOGITS), ((p[:, 0] + p[:, 2]) / p[:, 1]).log())
        assert Contrast(2, 1).kept(LOGITS).tolist() == [True, False]  # though neither is the answer to the first

    def test_classes_of_groups_and_contrasts_may_be_names(self) -> None:
        names = ["cat", "dog", "fox"]
        assert repr(Group(["fox", "cat"], names)) == "Group([0, 2])"
        assert repr(Contrast("dog", Group(["cat", "fox"], names), names)) == "Contrast(1, Group([0, 2]))"
        with pytest.raises(UnknownNameError, match="'wolf'"):
            Contrast("dog", "wolf", names)
        with pytest.raises(TypeError, match="names="):
            Contrast("dog", "cat")
        with pytest.raises(TypeError, match="takes a list of classes"):
            Group("dog", names)


@pytest.mark.parametrize(
    ("target", "outputs", "message"),
    [
        (Class(5), LOGITS, "classes 0 to 2"),
        (Class(0), LOGITS[:, :1], r"Binary\(\)"),
        (Class(0), torch.zeros(1, 3, 4, 4), r"Region\(class\)"),
        (Binary(), LOGITS, "one or two outputs"),
        (Group([0, 3]), LOGITS, "classes 0 to 2"),
        (MultiLabel(-1), LOGITS, "classes 0 to 2"),
    ],
)
def test_outputs_that_do_not_fit(target: Target, outputs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        target.score(outputs)


def test_bad_targets() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tabby'"):
        Class("tabbi", names=["tabby", "tiger"])
    with pytest.raises(TypeError, match="also give names="):
        Class("tabby")
    with pytest.raises(ValueError, match="both sides"):
        Contrast(1, Group([1, 2]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        MultiLabel(0, threshold=1.5)
    with pytest.raises(ValueError, match="at least one class"):
        Group([])
    with pytest.raises(ValueError, match="positive must be"):
        Binary(2)


LABELS = (torch.arange(12) // 4).expand(1, 1, 12, 12)
FORWARDS = {"ad": ADForward, "paint": lambda model, target=None: BaselineForward(model, "avg", target=target)}


@pytest.mark.parametrize("make", FORWARDS.values(), ids=FORWARDS)
def test_captum_explains_the_score(make, x: Tensor) -> None:
    model = network(3)
    by_index = FeatureAblation(make(model)).attribute(x, target=1, feature_mask=LABELS)
    by_target = FeatureAblation(make(model, target=Class(1))).attribute(x, feature_mask=LABELS)
    assert torch.equal(by_target, by_index)
    other = FeatureAblation(make(model)).attribute(x, target=2, feature_mask=LABELS)
    contrast = FeatureAblation(make(model, target=Contrast(1, 2))).attribute(x, feature_mask=LABELS)
    torch.testing.assert_close(contrast, by_index - other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", FORWARDS.values(), ids=FORWARDS)
def test_metrics_and_attributors_agree_with_an_index(make, x: Tensor) -> None:
    model, colors = network(3), SolidColors(n=4, seed=1)
    t = int(model(x).argmax())
    a = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(5))
    index, asked, own = make(model), Class(t), make(model, target=Class(t))
    for metric in (insertion_curve, deletion_curve):
        expected = metric(index, x, a, t)
        for found in (metric(index, x, a, asked), metric(own, x, a)):
            assert torch.equal(found.values, expected.values)
            assert torch.equal(found.class_kept, expected.class_kept)
    expected = sufficient_explanation(index, x, a, t)
    assert torch.equal(sufficient_explanation(own, x, a).mask, expected.mask)
    rho = rho_robustness(model, x, expected, t, colors)
    for found in (rho_robustness(model, x, expected, asked, colors), rho_robustness(own, x, expected, None, colors)):
        assert (found.rho, found.confidence) == (rho.rho, rho.confidence)
    given = {"max_forwards": 60, "min_region": 9, "seed": 1}
    by_index = CausalResponsibility(index).attribute(x, target=t, **given)
    assert torch.equal(CausalResponsibility(own).attribute(x, **given), by_index)
    ended = make(nn.Sequential(model, nn.Softmax(1)).eval())
    rise = Rise(ended).attribute(x, target=t, n_samples=20, grid=3)
    torch.testing.assert_close(Rise(own).attribute(x, n_samples=20, grid=3), rise)
    torch.testing.assert_close(Rise(index).attribute(x, target=asked, n_samples=20, grid=3), rise)


def test_a_label_need_not_be_the_largest_to_be_there(x: Tensor) -> None:
    model = network(4)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([30.0, 4.0, 0.0, -30.0]))
    assert int(model(x).argmax()) == 0
    whole = torch.ones(12, 12, dtype=torch.bool)
    for target in (MultiLabel(1), 1):
        how = {"to_confidence": "sigmoid"} if target == 1 else {}
        assert rho_robustness(model, x, whole, target, SolidColors(n=3), **how).rho == 1
    with pytest.raises(ValueError, match=r"MultiLabel\(3.*not the model's answer"):
        sufficient_explanation(ADForward(model, target=MultiLabel(3)), x, x)


def test_one_logit_everywhere(x: Tensor) -> None:
    model = network(1)
    with torch.no_grad():
        model[-1].bias += 0.5 - model(x)[0]
    ad = ADForward(model, target=Binary())
    a = Occlusion(ad).attribute(x, sliding_window_shapes=(3, 6, 6), strides=6)
    torch.testing.assert_close(
        a, -Occlusion(ADForward(model, target=Binary(0))).attribute(x, sliding_window_shapes=(3, 6, 6), strides=6)
    )
    assert sufficient_explanation(ad, x, a).found
    assert CausalResponsibility(ad).attribute(x, min_region=9, max_forwards=30).shape == x.shape
    assert Rise(ADForward(model)).attribute(x, n_samples=5, grid=2).shape == x.shape
    records = compare(
        model,
        {"a": x},
        ["occlusion", "responsibility", "rise", "lime"],
        ["ad:paper", "avg"],
        backgrounds={"K1": SolidColors(n=2)},
        gammas=(0.5,),
        sizes=(0.3,),
        window=6,
        n_samples=8,
        n_segments=6,
        target=Binary(),
        show_progress=False,
    )
    assert set(records["target"]) == {"Binary(positive=1, threshold=0.5)"}
    with pytest.raises(ValueError, match="one number, and it is undefined when the answer is kept"):
        sufficient_explanation(ADForward(model), x, a, 0, to_confidence="none")


def test_two_answers_to_what_is_explained_are_refused(x: Tensor) -> None:
    ad = ADForward(network(3), target=Class(1))
    with pytest.raises(ValueError, match="leave one of them out"):
        insertion_curve(ad, x, x, 2)
    with pytest.raises(ValueError, match="leave one of them out"):
        Rise(ad).attribute(x, target=2)
    with pytest.raises(ValueError, match="leave one of them out"):
        FeatureAblation(ad).attribute(x, target=2, feature_mask=LABELS)
    with pytest.raises(TypeError, match="there is no target"):
        insertion_curve(ADForward(network(3)), x, x)
    with pytest.raises(ValueError, match="leave to_confidence out"):
        insertion_curve(ADForward(network(3)), x, x, Class(0), to_confidence="sigmoid")
    with pytest.raises(TypeError, match="returns 3 numbers"):
        Rise(ADForward(network(3))).attribute(x, n_samples=2, grid=2)


@pytest.mark.parametrize(
    "make", [lambda **how: Group([0, 2], **how), lambda **how: Contrast(0, Group([1, 2], **how), **how)]
)
def test_probabilities_are_what_their_logits_are(make) -> None:
    logits, probabilities = make(), make(to_confidence="none")
    torch.testing.assert_close(probabilities.confidence(LOGITS.softmax(1)), logits.confidence(LOGITS))
    assert torch.equal(probabilities.kept(LOGITS.softmax(1)), logits.kept(LOGITS))


def test_a_name_that_two_classes_have_is_refused() -> None:
    with pytest.raises(ValueError, match="classes 0, 2 are all called 'crane': give the class index"):
        Class("crane", ["crane", "dog", "crane"])


def test_regressions_have_gradients_without_more_ado() -> None:
    ad = ADForward(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).eval(), target=Regression(tolerance=1))
    assert Saliency(ad).attribute(torch.rand(1, 1, 2, 2)).abs().sum() > 0
