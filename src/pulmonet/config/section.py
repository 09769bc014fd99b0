"""A section of RunConfig, and the types of numbers that its fields share."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from pulmonet.words import strings_below

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
PositiveInt = Annotated[int, Field(ge=1)]


def in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    """The bounds of a range, checked to come low to high."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"{bounds[0]:g} is above {bounds[1]:g}; write the lower one first")
    return bounds


Bounds = Annotated[tuple[Fraction, Fraction], AfterValidator(in_order)]


class Section(BaseModel):
    """A part of RunConfig: frozen, unknown keys refused, documented by its own docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """As `use_attribute_docstrings` does in 30 ms of each start; validators are built later."""
        for name, text in strings_below(cls).items():
            cls.model_fields[name].description = text

    @field_validator("*", mode="wrap")
    @classmethod
    def _truth_is_no_number(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """A probability of `true` is a mistake, and pydantic makes it 1."""
        found = read(value)
        if isinstance(value, bool) and not isinstance(found, bool):
            raise ValueError("true and false are no numbers")
        return found
