"""Names of methods and colour maps, methods at layers: what needs no torch."""

from pulmonet.choices import COLOUR_MAPS, LAST_LAYER, METHODS, PIXEL_METHODS
from pulmonet.errors import ConfigError
from pulmonet.run.record import Record
from pulmonet.words import unknown


def check_method(method: str, layer: str | None = None) -> str:
    """The method's own spelling.

    Raises:
        ConfigError: unknown, or a layer given to a method that has none.
    """
    name = method.strip().lower().replace("_", "-").replace("grad-cam", "gradcam")
    if name not in METHODS:
        raise ConfigError(unknown(f"--method {method}", name, METHODS, "no such method"))
    if layer is not None and name in PIXEL_METHODS:
        raise ConfigError(f"--layer {layer}: {name} works on the pixels; leave --layer out")
    return name


class MapVariant(Record):
    """A way to make maps that was scored."""

    name: str
    """Its row in the tables."""
    method: str
    layer: str | None
    """Layer the maps were read from; null is the last feature map, or the method has no layer."""
    cells: tuple[int, int] | None = None
    """Height and width of its maps in cells."""


def choose_variants(methods: str, layers: str | None) -> tuple[MapVariant, ...]:
    """Every method at every layer, both with commas; methods without a layer once.

    Layer ``last`` is the last feature map, and so is None.

    Raises:
        ConfigError: an unknown method, or layers for methods that have none.
    """
    wanted = _split(layers or LAST_LAYER) or [LAST_LAYER]
    named = dict.fromkeys(None if name.lower() == LAST_LAYER else name for name in wanted)
    chosen = dict.fromkeys(check_method(name) for name in _split(methods) or [methods])
    if all(name in PIXEL_METHODS for name in chosen):
        for name in chosen:
            check_method(name, next(filter(None, named), None))
    found = []
    for method in chosen:
        for layer in [None] if method in PIXEL_METHODS else named:
            is_alone = len(named) < 2 or method in PIXEL_METHODS
            name = method if is_alone else f"{method} {layer or LAST_LAYER}"
            found.append(MapVariant(name=name, method=method, layer=layer))
    return tuple(found)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def check_colour_map(name: str) -> str:
    """The name, if it is one of `COLOUR_MAPS`. ConfigError: it is not."""
    if name not in COLOUR_MAPS:
        raise ConfigError(unknown(f"--colour-map {name}", name, COLOUR_MAPS, "no such colour map"))
    return name
