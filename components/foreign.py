"""Respect for what is in a zone already: looks before a record is made, and takes over what the operator hands over."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import pulumi
from pulumi.runtime.rpc_manager import RPCManager
from pulumi.runtime.settings import SETTINGS

from components.cloudflare import RECORD, delete_record, list_records, own_comment
from model import foreign
from model.settings import Settings

_T = TypeVar("_T")
_OTHER_PLUGINS: Final = ("command:", "tls:")
# What the operator's record may have otherwise than ours, and keeps while it is in dns.adopt.
_KEPT: Final = ["comment", "content", "data", "priority", "proxied", "settings", "tags", "ttl"]


class ForeignRecords:
    """Watches every DNS record below a component. Owns nothing.

    The engine asks before it creates a record, in a preview too: an unchanged stack asks Cloudflare nothing, a new one
    once for each zone. A preview names every conflict at its end; an update without a preview stops at the first.
    A record that this stack made and could not note, because the update was cut off, gives way to the same made anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._adopt = settings.dns.adopt
        self._host = foreign.Host(
            comment=own_comment(),
            addresses={address.lower() for address in (settings.ipv4, settings.ipv6) if address},
            domains={domain.name for domain in settings.zones},
            adopted=set(settings.dns.adopt.values()),
        )
        self._records: dict[str, pulumi.Resource] = {}
        self._first: dict[str, pulumi.Resource] = {}
        self._zones: dict[str, asyncio.Future[list[foreign.Existing]]] = {}
        self._conflicts: dict[str, foreign.Conflict] = {}
        # The SDK's own threads all wait for records that wait for this look.
        self._thread = ThreadPoolExecutor(max_workers=1)
        hook = pulumi.ResourceHook("foreign-records", self._before_create, pulumi.ResourceHookOptions(on_dry_run=True))
        self._hooks = pulumi.ResourceHookBinding(before_create=[hook])

    def watching(self, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
        """Return a component's options with which every record below it is watched."""
        return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[self._watch]))

    def _watch(self, made: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        """Bind the look to a record, or take over the one that stands in its place."""
        if made.type_ != RECORD:
            if made.type_.startswith(_OTHER_PLUGINS):
                self._first.setdefault(made.type_.partition(":")[0], made.resource)
            return None
        self._records[made.name] = made.resource
        adopted = self._adopt.get(made.name)
        more = (
            pulumi.ResourceOptions(import_=adopted, ignore_changes=_KEPT)
            if adopted
            else pulumi.ResourceOptions(hooks=self._hooks)
        )
        # The engine starts one plugin after another, as a step like any other. Were every step a record that looks, the
        # look would wait for a plugin, and the plugin for a step. What waits for a service waits for these anyway.
        waits = made.opts is not None and made.opts.depends_on
        started = pulumi.ResourceOptions(depends_on=[] if waits else list(self._first.values()))
        opts = pulumi.ResourceOptions.merge(pulumi.ResourceOptions.merge(made.opts, more), started)
        return pulumi.ResourceTransformationResult(made.props, opts)

    def judged(self) -> pulumi.Output[None]:
        """Fail the program once all records are known, if one of them met a foreign one.

        Raises:
            pulumi.RunError: dns.adopt names a record that this stack does not have.
        """
        unknown = sorted(self._adopt.keys() - self._records.keys())
        if unknown:
            raise pulumi.RunError(
                f"dns.adopt: {unknown[0]} is no record of this stack; a preview without dns.adopt prints their names"
            )
        return pulumi.Output.all(*[record.urn for record in self._records.values()]).apply(lambda _: self._judge())

    def _judge(self) -> None:
        if self._conflicts:
            raise pulumi.RunError(foreign.report(self._conflicts.values(), self._host))

    async def _before_create(self, made: pulumi.ResourceHookArgs) -> None:
        inputs: Mapping[str, object] = made.new_inputs or {}
        content, data = inputs.get("content"), inputs.get("data")
        wanted = foreign.Wanted(
            resource=made.name,
            name=str(inputs["name"]),
            type=str(inputs["type"]),
            content=content if isinstance(content, str) and content != pulumi.runtime.rpc.UNKNOWN else None,
            data=data if isinstance(data, Mapping) else {},
        )
        found = [
            conflict
            for existing in await self._existing(str(inputs["zoneId"]))
            if (conflict := foreign.conflict(wanted, existing, self._host))
        ]
        for left in [conflict.existing for conflict in found if conflict.left]:
            await self._take_back(left, self._records[made.name])
        found = [conflict for conflict in found if not conflict.left]
        for conflict in found:
            if conflict.same_type or conflict.existing.id not in self._conflicts:
                self._conflicts[conflict.existing.id] = conflict
        if found and not pulumi.runtime.is_dry_run():
            raise ValueError(foreign.report(found, self._host))

    async def _take_back(self, left: foreign.Existing, record: pulumi.Resource) -> None:
        if not pulumi.runtime.is_dry_run():
            try:
                await self._aside(delete_record, left.id)
            except (OSError, ValueError) as error:
                raise ValueError(foreign.not_taken_back(left, error)) from error
        pulumi.log.info(foreign.taken_back(left), record)

    async def _existing(self, zone_id: str) -> list[foreign.Existing]:
        if zone_id not in self._zones:
            self._zones[zone_id] = self._aside(_listed, zone_id)
        return await self._zones[zone_id]

    def _aside(self, call: Callable[[str], _T], argument: str) -> asyncio.Future[_T]:
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._thread, context.run, call, argument)


def _listed(zone_id: str) -> list[foreign.Existing]:
    # The SDK waits in its own event loop for every call it knows of; this one runs in another, and is not its business.
    SETTINGS.rpc_manager = RPCManager()  # type: ignore[no-untyped-call] # because the SDK has no types here
    return asyncio.run(list_records(zone_id))
