"""What the last complete update of this very stack left in its outputs."""

from collections.abc import Mapping
from typing import Any, Final

import pulumi

_OWN_BACKEND: Final = "organization"
"""What a backend without organizations says; there a stack's name alone is enough, in any layout."""


async def stack_outputs() -> Mapping[str, Any]:
    """Return the stack's outputs, none before its first update.

    A `pulumi.StackReference` would ask the same, and be a resource that is read in every plan.

    Raises:
        pulumi.RunError: They cannot be read.
    """
    organization = pulumi.get_organization()
    whole = f"{organization}/{pulumi.get_project()}/{pulumi.get_stack()}"
    name = pulumi.get_stack() if organization == _OWN_BACKEND else whole
    try:
        answer = await pulumi.runtime.invoke_async("pulumi:pulumi:readStackOutputs", {"name": name})
    except Exception as error:
        raise pulumi.RunError(f"The outputs of the stack {name} cannot be read: {error}") from error
    outputs: Mapping[str, Any] = answer["outputs"]
    return outputs
