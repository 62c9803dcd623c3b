"""Files for the host: rendered text with a place, a mode and an owner."""

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from model.frozen import frozen

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


@frozen
class ConfigFile:
    """One file as it shall lie on the host."""

    path: str
    """Absolute path on the host."""
    content: str
    mode: str = "0644"
    """Permission bits, octal, four digits."""
    owner: str = "root:root"
    """user:group."""

    def __post_init__(self) -> None:
        """Refuse what the host's helper would refuse later."""
        if not self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError(f"{self.path}: not an absolute path")
        if not re.fullmatch(r"[0-7]{4}", self.mode):
            raise ValueError(f"{self.path}: mode {self.mode!r} is not four octal digits")
        if self.content and not self.content.endswith("\n"):
            raise ValueError(f"{self.path}: the last line has no newline")

    @property
    def sha256(self) -> str:
        """Digest of the content as UTF-8, in hex."""
        return hashlib.sha256(self.content.encode()).hexdigest()


class Nothing(TypedDict):
    """The context of a template without variables."""


def render(template: str, context: Mapping[str, object]) -> str:
    """Fill a template.

    Args:
        template: path below templates/.
        context: exactly the names the template uses. The template also gets `managed`, its header.

    Raises:
        jinja2.UndefinedError: the template uses a name that the context does not have.
    """
    managed = f"Managed by Pulumi from templates/{template}: a change made here is lost at the next `pulumi up`."
    return environment().get_template(template).render(context, managed=managed)


@cache
def environment() -> "jinja2.Environment":
    """Return the one template environment: strict about names, exact about white space."""
    import jinja2  # noqa: PLC0415 because by then a preview waits for plugins anyway (components/mail_host.py)

    compiled = _bytecode_folder()
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
        bytecode_cache=jinja2.FileSystemBytecodeCache(str(compiled)) if compiled else None,
    )


def _bytecode_folder() -> Path | None:
    """Return where compiled templates are kept, as Python's modules are: compiling takes as long as filling all."""
    folder = TEMPLATES / "__pycache__"
    if sys.dont_write_bytecode:
        return None
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
