"""The first preview shows all that can be known."""

import signal

from tests.graph.harness import Graph

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def test_only_what_is_made_by_the_update_is_unknown(preview: Graph, graph: Graph) -> None:
    unknown = {
        (seen.name, name)
        for seen in preview.resources.values()
        for name, value in seen.inputs.items()
        if value == UNKNOWN
    }
    # What has the serial of a staging, which shows the content.
    following = {seen.name for seen in graph.commands() if " --serial " in seen.text("create")}
    assert len(following) > 15
    unknown -= {(name, property_) for name in following for property_ in ("create", "stdin")}
    assert unknown == {
        ("mail-example.org-txt", "content"),
        ("mail-dkim-visible-wait", "stdin"),
        ("mail-opendkim-secrets", "stdin"),
        # The certificate's keys are made on the host. Their digests stand in records' data, below the level looked at.
        ("mail-tlsa-announced", "stdin"),
    }


def test_preview_and_up_register_the_same_resources(preview: Graph, graph: Graph) -> None:
    assert set(preview.resources) == set(graph.resources)


def test_the_engine_ends_the_program_at_once(preview: Graph) -> None:
    assert preview.on_interrupt is signal.SIG_DFL
