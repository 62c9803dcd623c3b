"""How components are given their arguments."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def arguments(cls: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass, given by keyword, that nobody compares or prints.

    Python writes and compiles each method of a dataclass anew in every preview, and there are two dozen of these.
    """
    return dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)
