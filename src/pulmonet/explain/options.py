"""Names of methods and colour maps, and their checks: all that needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pulmonet.choices import COLOUR_MAPS, LAST_LAYER, METHODS, PIXEL_METHODS
from pulmonet.errors import ConfigError
from pulmonet.labels import resolve_label
from pulmonet.words import did_you_mean


def check_method(method: str, layer: str | None = None) -> str:
    """The method's own spelling.

    Raises:
        ConfigError: unknown, or a layer given to a method that has none.
    """
    name = method.strip().lower().replace("_", "-").replace("grad-cam", "gradcam")
    if name not in METHODS:
        raise ConfigError(
            f"--method {method}: no such method{did_you_mean(name, METHODS)}; "
            f"choose from {', '.join(METHODS)}"
        )
    if layer is not None and name in PIXEL_METHODS:
        raise ConfigError(f"--layer {layer}: {name} works on the pixels; leave --layer out")
    return name


@dataclass(frozen=True)
class Variant:
    """A way to make maps.

    Attributes:
        name: as tables have it: the method, with its layer where several layers are compared.
        method: one of `METHODS`.
        layer: dotted name of a module; None is the last feature map, or the method has no layer.
    """

    name: str
    method: str
    layer: str | None


def choose_variants(methods: str, layers: str | None) -> tuple[Variant, ...]:
    """Every method at every layer; methods without a layer once.

    Args:
        methods: one or several, with commas.
        layers: likewise; ``last`` is the last feature map, and so is None.

    Raises:
        ConfigError: an unknown method, or layers for methods that have none.
    """
    wanted = [] if layers is None else _split(layers)
    named = [None if name.lower() == LAST_LAYER else name for name in wanted] or [None]
    names = _split(methods) or [methods]
    chosen = dict.fromkeys(check_method(name) for name in names)
    if all(name in PIXEL_METHODS for name in chosen):
        for name in chosen:
            check_method(name, next(filter(None, named), None))
    pairs = {
        (method, None if method in PIXEL_METHODS else layer): None
        for method in chosen
        for layer in named
    }
    return tuple(
        Variant(
            method if len(named) < 2 or method in PIXEL_METHODS else f"{method} {layer or 'last'}",
            method,
            layer,
        )
        for method, layer in pairs
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def check_colour_map(name: str) -> str:
    """The name, if it is one of `COLOUR_MAPS`.

    Raises:
        ConfigError: it is not.
    """
    if name not in COLOUR_MAPS:
        raise ConfigError(
            f"--colour-map {name}: no such colour map{did_you_mean(name, COLOUR_MAPS)}; "
            f"choose from {', '.join(COLOUR_MAPS)}"
        )
    return name


def choose_labels(
    names: Sequence[str], indices: Sequence[int], available: Sequence[str]
) -> tuple[str, ...]:
    """The labels to explain, in the model's order; all where none is named.

    Args:
        names: as the user wrote them.
        indices: positions in `available`, as the original scripts' ``--class_idx``.
        available: the model's labels.

    Raises:
        ConfigError: no such label or position; the message has the near miss.
    """
    wrong = [index for index in indices if not 0 <= index < len(available)]
    if wrong:
        listed = ", ".join(f"{number} {label}" for number, label in enumerate(available))
        raise ConfigError(f"--class-idx {wrong[0]}: no such output; choose from {listed}")
    chosen = {resolve_label(name, available) for name in names}
    chosen |= {available[index] for index in indices}
    return tuple(label for label in available if not chosen or label in chosen)
