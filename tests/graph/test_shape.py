"""The graph is well formed: parents, tokens, outputs, versions."""

import importlib
import inspect
import pkgutil
import sys

import pulumi

import components
from tests.graph.harness import Graph

STACK_TYPE = "pulumi:pulumi:Stack"
OURS = "mailhost:index:"


def component_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(components.__path__):
        for name, value in inspect.getmembers(importlib.import_module(f"components.{module.name}"), inspect.isclass):
            if issubclass(value, pulumi.ComponentResource) and value.__module__.startswith("components."):
                found[name] = value
    return found


def test_every_resource_but_the_mail_host_has_one_of_our_components_as_parent(graph: Graph) -> None:
    for seen in graph.resources.values():
        if seen.type in (STACK_TYPE, f"{OURS}MailHost"):
            continue
        assert graph.resources[seen.parent].type.startswith(OURS), seen.urn


def test_the_type_token_of_every_component_is_its_class(graph: Graph) -> None:
    tokens = {seen.type for seen in graph.resources.values() if seen.type.startswith(OURS)}
    assert {token.removeprefix(OURS) for token in tokens} == set(component_classes()) - {"Service", "SilentMailDomain"}


def test_every_component_registers_its_outputs(graph: Graph) -> None:
    for seen in graph.resources.values():
        if seen.type.startswith(OURS):
            assert seen.urn in graph.outputs, seen.urn


def test_names_start_with_the_parents_name(graph: Graph) -> None:
    for seen in graph.resources.values():
        if seen.parent and graph.resources[seen.parent].type != STACK_TYPE:
            assert seen.name.startswith(f"{graph.resources[seen.parent].name}-"), seen.urn


def test_every_component_but_a_parent_of_components_has_resources_of_its_own(graph: Graph) -> None:
    # An empty component swallows the dependencies that lead through it.
    parents = {seen.parent for seen in graph.resources.values()}
    for seen in graph.resources.values():
        if seen.type.startswith(OURS):
            assert seen.urn in parents, seen.urn


def test_the_host_name_is_exported(graph: Graph) -> None:
    assert graph.exports["hostname"] == "mail.example.org"


def test_no_resource_but_the_stack_costs_a_stack_trace(graph: Graph) -> None:
    assert {seen.urn: seen.frames for seen in graph.resources.values() if seen.frames and seen.type != STACK_TYPE} == {}
    assert not hasattr(sys, "tracebacklimit")
