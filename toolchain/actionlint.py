"""The linter of GitHub workflows, which exists as a Go program only."""

from pathlib import Path
from typing import Final

from toolchain import cache, golang

ACTIONLINT: Final = golang.GoTool(module="actionlint")


def provide() -> Path:
    """Returns the `actionlint` of the cache, building it (10 s) when its versions changed."""
    if not cache.is_current("actionlint", ACTIONLINT.stamp):
        with cache.lock(), cache.workspace() as new, golang.go(ACTIONLINT) as go:
            go.build(ACTIONLINT, new)
            return cache.install("actionlint", ACTIONLINT.stamp, new)
    return cache.binaries() / "actionlint"
