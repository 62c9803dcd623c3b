"""The program: settings in, a mail host out."""

import asyncio
import atexit
import gc
import os
import signal
from datetime import UTC, datetime

import pulumi

# So the engine ends the program when an update has failed. Threads that wait for its answers would outlive Python's own
# KeyboardInterrupt, and the engine would wait for them for five seconds.
signal.signal(signal.SIGINT, signal.SIG_DFL)
# The program lives for a second: the collector would take a tenth of it, most while modules are imported.
gc.disable()
# Disabled or not, it looks at every object once more when the interpreter ends; what is frozen it leaves alone.
atexit.register(gc.freeze)
# Else pydantic asks every installed package whether it is a plugin of pydantic.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

import components  # noqa: E402, F401 because it finds what has left sys.path when main() runs

# The SDK reports some five steps per resource to the engine, each a call it waits for: a fifth of the processor time of
# a preview with 100 domains. Only `--debug` would show them.
pulumi.log.debug = lambda *_, **__: None

_MOMENT_SECONDS = 0.002


async def main() -> None:
    """Declare the mail host of the selected stack.

    Raises:
        pulumi.RunError: The configuration is wrong; every problem is named.
    """
    # Sent off, so that the engine has the stack while the program is imported.
    await asyncio.sleep(_MOMENT_SECONDS)
    from components import stack_traces  # noqa: PLC0415 because the stack goes first
    from components.cloudflare import find_zones  # noqa: PLC0415 because the stack goes first
    from components.stack_outputs import stack_outputs  # noqa: PLC0415 because the stack goes first
    from model import mailbox_file  # noqa: PLC0415 because the stack goes first
    from model import settings as model_settings  # noqa: PLC0415 because the stack goes first

    try:
        settings = model_settings.load(stack_config(), listed=mailbox_file.read(pulumi.get_stack()))
        # The one thing that a date decides, and only whether there is a plan: it is the same on every day.
        model_settings.refuse_haste(settings, datetime.now(UTC))
    except model_settings.SettingsError as error:
        raise pulumi.RunError(str(error)) from error
    zones = find_zones(settings.zones)
    outputs = asyncio.ensure_future(stack_outputs())
    # Sent off, so that the engine starts Cloudflare's plugin while the rest of the program is imported.
    await asyncio.sleep(_MOMENT_SECONDS)
    from components.mail_host import MailHost, MailHostArgs  # noqa: PLC0415 because of the line above

    try:
        model_settings.refuse_leap(settings, await outputs, pulumi.get_stack())
    except model_settings.SettingsError as error:
        raise pulumi.RunError(str(error)) from error
    with stack_traces.omitted():
        mail = MailHost("mail", MailHostArgs(settings=settings, zones=zones))
        await mail.declare()
    pulumi.export("hostname", mail.hostname)
    pulumi.export("dkim", mail.dkim)
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
