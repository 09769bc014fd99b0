"""Names of methods, layers and their combinations."""

from __future__ import annotations

import pytest

from pulmonet.errors import ConfigError
from pulmonet.explain.maps.variants import Variant, choose_variants


def test_one_method_is_called_by_its_name() -> None:
    assert choose_variants("Grad-CAM", None) == (Variant("gradcam", "gradcam", None),)
    assert choose_variants("layercam", "blocks.4") == (Variant("layercam", "layercam", "blocks.4"),)
    assert choose_variants("layercam", "last") == (Variant("layercam", "layercam", None),)


def test_every_method_meets_every_layer_once() -> None:
    found = choose_variants("layercam, occlusion,gradcam++,layercam", "last,layer3")
    assert found == (
        Variant("layercam last", "layercam", None),
        Variant("layercam layer3", "layercam", "layer3"),
        Variant("occlusion", "occlusion", None),
        Variant("gradcam++ last", "gradcam++", None),
        Variant("gradcam++ layer3", "gradcam++", "layer3"),
    )


@pytest.mark.parametrize(
    ("methods", "layers", "message"),
    [
        ("gradcam,layercan", None, r"--method layercan: .*did you mean 'layercam'"),
        ("", None, r"--method : no such method"),
        (",", None, r"--method ,: no such method"),
        ("occlusion", "layer3", "occlusion works on the pixels; leave --layer out"),
        ("occlusion,integrated-gradients", "layer3,last", "works on the pixels"),
    ],
)
def test_wrong_combinations_are_named(methods: str, layers: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_variants(methods, layers)
