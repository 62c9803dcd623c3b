"""Respect for what is in a zone already: looks before a record is made, and takes over what the operator hands over."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final, TypeVar

import pulumi
from pulumi.runtime.rpc_manager import RPCManager
from pulumi.runtime.settings import SETTINGS
from pulumi.runtime.stack import ResourceRegistrationFailed

from components.cloudflare import DnsRecord, delete_record, list_records
from model import foreign
from model.settings import Settings

_T = TypeVar("_T")
_OTHER_PLUGINS: Final = ("command:", "tls:")
# What the operator's record may have otherwise than ours, and keeps while it is in dns.adopt.
_KEPT: Final = ["comment", "content", "data", "priority", "proxied", "settings", "tags", "ttl"]


class ForeignRecords:
    """Watches every DNS record below a component. Owns nothing.

    Only what a new record would meet is of interest: an unchanged stack asks Cloudflare nothing, a new one once for
    each zone. A preview names every conflict at its end. In an update the engine asks before it creates a
    record, and stops at the first: without a preview this is the only look, and else the last.
    A record whose comment names the resource that is about to be created is stale: the state was lost, or an update was
    cut off. It is deleted before the new one is made, and both a preview and an update say so.
    """

    def __init__(self, settings: Settings) -> None:
        self._adopt = settings.dns.adopt
        self._host = foreign.Host(
            stack=pulumi.get_stack(),
            addresses={address.lower() for address in (settings.ipv4, settings.ipv6) if address},
            domains={domain.name for domain in settings.zones},
            adopted=set(settings.dns.adopt.values()),
        )
        self._records: dict[str, DnsRecord] = {}
        self._planned: dict[str, pulumi.Inputs] = {}
        self._first: dict[str, pulumi.Resource] = {}
        self._zones: dict[str, asyncio.Future[list[foreign.Existing]]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1)

    def watching(self, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
        """Return a component's options with which every record below it is watched."""
        return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[self._watch]))

    @cached_property
    def _hooks(self) -> pulumi.ResourceHookBinding:
        return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook("foreign-records", self._before_create)])

    def _watch(self, made: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        """Note a record, bind the look to it, or take over the one that stands in its place."""
        if not isinstance(made.resource, DnsRecord):
            if made.type_.startswith(_OTHER_PLUGINS):
                self._first.setdefault(made.type_.partition(":")[0], made.resource)
            return None
        self._records[made.name] = made.resource
        if adopted := self._adopt.get(made.name):
            # The provider refuses content beside data, and an import has both.
            kept = [key for key in _KEPT if key != "content" or "data" not in made.props]
            more = pulumi.ResourceOptions(import_=adopted, ignore_changes=kept)
        elif pulumi.runtime.is_dry_run():
            self._planned[made.name] = made.props
            return None
        else:
            # The engine starts one plugin after another, as a step like any other. Were every step a record that looks,
            # the look would wait for a plugin, and the plugin for a step. What waits for a service waits for these
            # anyway.
            waits = made.opts is not None and made.opts.depends_on
            more = pulumi.ResourceOptions(hooks=self._hooks, depends_on=[] if waits else list(self._first.values()))
        return pulumi.ResourceTransformationResult(made.props, pulumi.ResourceOptions.merge(made.opts, more))

    def judged(self) -> None:
        """Fail a preview if a new record meets a foreign one; to be called when all are declared.

        Raises:
            pulumi.RunError: dns.adopt names a record that this stack does not have.
        """
        unknown = sorted(self._adopt.keys() - self._records.keys())
        if unknown:
            raise pulumi.RunError(
                f"dns.adopt: {unknown[0]} is no record of this stack; a preview without dns.adopt prints their names"
            )
        pulumi.Output.from_input(self._judge())  # type: ignore[arg-type] # because it has nothing to say but errors

    async def _judge(self) -> None:
        conflicts: dict[str, foreign.Conflict] = {}
        for found in await asyncio.gather(*(self._met(name, inputs) for name, inputs in self._planned.items())):
            for conflict in found:
                if conflict.left:
                    pulumi.log.info(foreign.taken_back(conflict), self._records[conflict.wanted.resource])
                elif conflict.same_type or conflict.existing.id not in conflicts:
                    conflicts[conflict.existing.id] = conflict
        if conflicts:
            raise pulumi.RunError(foreign.report(conflicts.values(), self._host))

    async def _met(self, name: str, inputs: pulumi.Inputs) -> list[foreign.Conflict]:
        try:
            # A preview does not know the id of what is yet to be made.
            if await self._records[name].id.is_known():
                return []
        except ResourceRegistrationFailed:
            # The engine says itself what is wrong with it, and goes on with --continue-on-error.
            return []
        return await self._conflicts(name, await _known(inputs))

    async def _before_create(self, made: pulumi.ResourceHookArgs) -> None:
        found = await self._conflicts(made.name, made.new_inputs or {})
        for left in [conflict for conflict in found if conflict.left]:
            try:
                await self._aside(delete_record, left.existing.id)
            except OSError as error:
                raise ValueError(foreign.not_taken_back(left, error)) from error
            pulumi.log.info(foreign.taken_back(left), self._records[made.name])
        if in_the_way := [conflict for conflict in found if not conflict.left]:
            raise ValueError(foreign.report(in_the_way, self._host))

    async def _conflicts(self, name: str, inputs: Mapping[str, object]) -> list[foreign.Conflict]:
        content, data = inputs.get("content"), inputs.get("data")
        wanted = foreign.Wanted(
            resource=name,
            name=str(inputs["name"]),
            type=str(inputs["type"]),
            content=content if isinstance(content, str) else None,
            data=data if isinstance(data, Mapping) else {},
        )
        records = await self._existing(str(inputs["zoneId"]))
        return [found for existing in records if (found := foreign.conflict(wanted, existing, self._host))]

    async def _existing(self, zone_id: str) -> list[foreign.Existing]:
        if zone_id not in self._zones:
            # In an update the SDK's own threads all wait for records that wait for this look.
            preview = pulumi.runtime.is_dry_run()
            asked = asyncio.ensure_future(list_records(zone_id)) if preview else self._aside(_listed, zone_id)
            self._zones[zone_id] = asked
        return await self._zones[zone_id]

    def _aside(self, call: Callable[[str], _T], argument: str) -> asyncio.Future[_T]:
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._thread, context.run, call, argument)


def _listed(zone_id: str) -> list[foreign.Existing]:
    # The SDK waits in its own event loop for every call it knows of; this one runs in another, and is not its business.
    SETTINGS.rpc_manager = RPCManager()  # type: ignore[no-untyped-call] # because the SDK has no types here
    return asyncio.run(list_records(zone_id))


async def _known(value: object) -> Any:
    """Return an input with what a preview knows of it; None stands for what is yet to be made."""
    if isinstance(value, pulumi.Output):
        return await value.future()
    if isinstance(value, Mapping):
        return {key: await _known(part) for key, part in value.items()}
    return value
