"""The first preview shows all that can be known."""

import signal

from tests.graph.harness import Graph

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def test_only_what_the_generated_key_makes_is_unknown(preview: Graph) -> None:
    unknown = {
        (seen.name, name)
        for seen in preview.resources.values()
        for name, value in seen.inputs.items()
        if value == UNKNOWN
    }
    assert unknown == {
        ("mail-example.org-txt", "content"),
        ("mail-dkim-visible-wait", "stdin"),
        ("mail-opendkim-secrets", "stdin"),
        ("mail-opendkim-apply", "stdin"),
        # The ACME account is made on the host. Here it stands in the record that certbot waits for.
        ("mail-certificate-issue", "stdin"),
        # The certificate's keys are made on the host. Their digests stand in records' data, below the level looked at.
        ("mail-tlsa-use", "stdin"),
        ("mail-tlsa-announced", "stdin"),
    }


def test_preview_and_up_register_the_same_resources(preview: Graph, graph: Graph) -> None:
    assert set(preview.resources) == set(graph.resources)


def test_the_engine_ends_the_program_at_once(preview: Graph) -> None:
    assert preview.on_interrupt is signal.SIG_DFL
