"""The official Python SDKs' argument types, read from their source.

Read, not imported: pulumi_cloudflare costs seconds and 130 MB.
"""

import ast
import functools
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SITE = Path(str(metadata.distribution("pulumi").locate_file("")))


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One input property as the SDK takes it."""

    required: bool
    annotation: str
    """For instance `pulumi.Input[Optional[_builtins.str]]`."""


@functools.cache
def class_of(path: str, name: str) -> ast.ClassDef:
    """One class of a generated module, by its path below site-packages.

    Only its own lines are parsed: pulumi_cloudflare/_inputs.py has 90,000.
    """
    text = (SITE / path).read_text(encoding="utf-8")
    own = re.search(rf"^class {name}\b.*\n(?:(?:[ )].*)?\n)*", text, re.MULTILINE)
    assert own, f"{path} has no class {name}"
    (found,) = ast.parse(own[0]).body
    assert isinstance(found, ast.ClassDef)
    return found


def arguments(class_: ast.ClassDef) -> dict[str, Argument]:
    """What the class's constructor takes, by the names on the wire."""
    init = next(node for node in class_.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    wire = {
        node.name: decorator.keywords[0].value.value  # type: ignore[attr-defined] # because generated getters name a constant
        for node in class_.body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and decorator.keywords
    }
    return {
        str(wire.get(argument.arg, argument.arg)): Argument(
            required=default is None, annotation=ast.unparse(argument.annotation) if argument.annotation else ""
        )
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    }
