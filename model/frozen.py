"""How values and the arguments of components are given: by keyword, and never changed."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False, field_specifiers=(field,))
def frozen(cls: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass, given by keyword, that nobody compares or prints.

    Python writes and compiles each method of a dataclass anew in every preview, and there are four dozen of these.
    """
    return dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)
