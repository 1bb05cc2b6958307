"""What pretrained weights expect and under which licence they are is known before they are fetched."""

from collections.abc import Callable
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Network, Params, Target
from darkroom.models.licence import WeightsOrigin, check_licence
from darkroom.training.plan import make_plan
from darkroom.transfer.pretrained import describe_weights


def named(provider: Any, name: str, **kwargs: Any) -> Network:
    return Network(provider=provider, name=name, pretrained=True, kwargs=kwargs)


@pytest.mark.parametrize(
    ("model", "size", "mean", "licence"),
    [
        (named("timm", "resnet18"), 224, 0.485, "apache-2.0"),
        (named("timm", "convnextv2_atto"), 224, 0.485, "cc-by-nc-4.0"),
        (named("timm", "vit_tiny_patch16_224", img_size=64), 64, 0.5, "apache-2.0"),
        (named("timm", "convnext_base", pretrained_cfg="dinov3_lvd1689m"), 224, 0.485, "dinov3-license"),
        (named("torchvision", "resnet18"), 224, 0.485, "bsd-3-clause; terms of ImageNet may apply"),
        (named("torchvision", "efficientnet_v2_l"), 480, 0.5, "bsd-3-clause; terms of ImageNet may apply"),
        (named("torchvision", "inception_v3"), 299, 0.5, "bsd-3-clause; terms of ImageNet may apply"),
        (named("torchvision", "vit_h_14"), 518, 0.485, "cc-by-nc-4.0"),
    ],
)
def test_weights_of_the_libraries(model: Network, size: int, mean: float, licence: str) -> None:
    about = describe_weights(model)
    assert about is not None
    assert (about.image_size, about.mean[0], about.origin.licence) == (size, mean, licence)
    assert model.provider in about.origin.source


def test_networks_from_scratch_expect_nothing() -> None:
    assert describe_weights(named("timm", "resnet18").model_copy(update={"pretrained": False})) is None
    assert describe_weights(Target.model_validate({"_target_": "torchvision.models.resnet18"})) is None


def test_googlenet_sees_what_its_weights_were_trained_on() -> None:
    """As `transform_input`, which torchvision sets with these weights, has it."""
    import torch
    from torchvision import models

    about, seen = describe_weights(named("torchvision", "googlenet")), torch.rand(1, 3, 4, 4)
    assert about is not None
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    library = models.googlenet(transform_input=True, aux_logits=False, init_weights=False)
    ours = (seen - torch.tensor(about.mean).view(1, 3, 1, 1)) / torch.tensor(about.std).view(1, 3, 1, 1)
    torch.testing.assert_close(library._transform_input((seen - mean) / std), ours)


@pytest.mark.parametrize(
    ("licence", "restricted"),
    [
        *((name, False) for name in ("apache-2.0", "mit", "cc-by-4.0", "dinov3-license", "cvnets-license", "gemma")),
        *((name, True) for name in ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "fair-noncommercial-research-license", "apple-amlr")),
        *((name, True) for name in ("seer-license", "other", "other nvidia-license")),
    ],
)
def test_licences(licence: str, restricted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    origin = WeightsOrigin(source="timm: someone/something", licence=licence, sha256={})
    check_licence(origin, allow_noncommercial=True)
    if restricted:
        with pytest.raises(
            InputError, match=r"^params\.yaml: train\.allow_noncommercial: is false, but the licence of timm: some"
        ):
            check_licence(origin, allow_noncommercial=False)
    else:
        check_licence(origin, allow_noncommercial=False)
    assert capsys.readouterr().err == ""


def test_weights_without_a_licence_are_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    check_licence(WeightsOrigin(source="timm: someone/something", licence=None, sha256={}), allow_noncommercial=False)
    assert "the weights of timm: someone/something name no licence" in capsys.readouterr().err


def test_a_training_with_them_is_refused_before_they_are_fetched(make_params: Callable[..., Params], digits: Any) -> None:
    params = make_params({"train.model": named("timm", "convnextv2_atto").model_dump()})
    with pytest.raises(InputError, match=r"the licence of timm: timm/convnextv2_atto\.fcmae_ft_in1k \(cc-by-nc-4\.0\) forbids"):
        make_plan(params, digits.pack, digits.split.rows["train"])
