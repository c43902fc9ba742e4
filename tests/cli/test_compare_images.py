"""``captum-ad compare``: the photographs and inputs that it takes."""

from PIL import Image

from tests.cli.reports import archive, entries


def test_several_photographs_with_the_same_stem(compare, here):
    (here / "other").mkdir()
    Image.open("photo.png").convert("L").save("other/photo.jpg")
    Image.open("photo.png").save("photo-2.png")
    images = ("photo.png", "other/photo.jpg", "photo-2.png", "photo.png")
    ran = compare("--out", "out", "--methods", "occlusion", "--ad", "paper", "--baselines", images=images)
    assert ran.code == 0, ran.err
    assert [e["file"] for e in entries("out")] == list(images)
    assert [e["figure"] for e in entries("out")] == ["photo.png", "photo-3.png", "photo-2.png", "photo-4.png"]
    assert len(list((here / "out").iterdir())) == 10


def test_gray_inputs_and_models_without_a_transform(compare):
    quick = ("--methods", "feature_ablation", "--ad", "paper", "--baselines", "blur")
    assert compare("--out", "a", *quick, model="tiny_model:gray").code == 0
    assert archive("a/photo.npz")["feature_ablation/blur"].shape == (1, 24, 24)
    assert compare("--out", "b", *quick, model="tiny_model:bare").code == 0
    assert archive("b/photo.npz")["feature_ablation/blur"].shape == (3, 224, 224)


def test_photographs_of_scikit_image_by_name(compare):
    quick = ("--methods", "occlusion", "--ad", "paper", "--baselines", "--out", "out")
    assert compare(*quick, images=("chelsea", "camera")).code == 0
    assert set(archive("out/camera.npz")) == {"occlusion/ad:paper", "superpixels", "target"}


def test_without_an_image_it_takes_one_of_scikit_image(compare):
    assert compare("--methods", "occlusion", "--ad", "paper", "--baselines", "--out", "out", images=()).code == 0
    assert archive("out/coffee.npz")
