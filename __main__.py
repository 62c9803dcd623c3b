"""The program: settings in, a mail host out."""

import asyncio
import atexit
import gc
from datetime import UTC, datetime

import pulumi

# The program lives for a second: the collector would take a tenth of it, most while modules are imported.
gc.disable()
# Disabled or not, it looks at every object once more when the interpreter ends; what is frozen it leaves alone.
atexit.register(gc.freeze)

from components import stack_traces  # noqa: E402 because of the line above
from components.mail_host import MailHost, MailHostArgs  # noqa: E402 because of the line above
from model import mailbox_file  # noqa: E402 because of the line above
from model import settings as model_settings  # noqa: E402 because of the line above

# The SDK reports some five steps per resource to the engine, each a call it waits for: a fifth of the processor time of
# a preview with 100 domains. Only `--debug` would show them.
pulumi.log.debug = lambda *_, **__: None


async def main() -> None:
    """Declare the mail host of the selected stack.

    Raises:
        pulumi.RunError: The configuration is wrong; every problem is named.
    """
    try:
        settings = model_settings.load(stack_config(), listed=mailbox_file.read(pulumi.get_stack()))
        # The one thing that a date decides, and only whether there is a plan: it is the same on every day.
        model_settings.refuse_haste(settings, datetime.now(UTC))
    except model_settings.SettingsError as error:
        raise pulumi.RunError(str(error)) from error
    with stack_traces.omitted():
        host = MailHost("mail", MailHostArgs(settings=settings))
        await host.declare()
    pulumi.export("hostname", host.hostname)
    pulumi.export("dkim", host.dkim)
    # Two turns of the loop, and every registration has begun. The SDK then waits for the registrations, else for each
    # output among all that are open, which takes the square of their number.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def stack_config() -> dict[str, str]:
    """Return every key of the project's namespace: `pulumi.Config` cannot list them, and a typo must be seen."""
    prefix = f"{pulumi.get_project()}:"
    known = pulumi.runtime.get_config_env() | pulumi.runtime.config.CONFIG.get()
    return {key.removeprefix(prefix): value for key, value in known.items() if key.startswith(prefix)}


pulumi.run(main)
