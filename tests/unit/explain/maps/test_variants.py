"""Names of methods, layers and their combinations."""

from __future__ import annotations

import pytest

from pulmonet.errors import ConfigError
from pulmonet.explain.maps.variants import MapVariant, choose_variants


def variant(name: str, method: str, layer: str | None) -> MapVariant:
    return MapVariant(name=name, method=method, layer=layer)


def test_one_method_is_called_by_its_name() -> None:
    assert choose_variants("Grad-CAM", None) == (variant("gradcam", "gradcam", None),)
    assert choose_variants("layercam", "blocks.4") == (variant("layercam", "layercam", "blocks.4"),)
    assert choose_variants("layercam", "last") == (variant("layercam", "layercam", None),)


def test_every_method_meets_every_layer_once() -> None:
    found = choose_variants("layercam, occlusion,gradcam++,layercam", "last,layer3")
    assert found == (
        variant("layercam last", "layercam", None),
        variant("layercam layer3", "layercam", "layer3"),
        variant("occlusion", "occlusion", None),
        variant("gradcam++ last", "gradcam++", None),
        variant("gradcam++ layer3", "gradcam++", "layer3"),
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
