"""The client setup in the graph: what a domain adds, and what is left when it is off."""

from tests.graph.conftest import CONFIG
from tests.graph.harness import Graph, run

ISSUE = "mail-certificate-issue"


def _changed_files(before: Graph, after: Graph) -> list[str]:
    """Return the paths of nginx's files that one graph has otherwise than the other."""
    old, new = before.staged("nginx"), after.staged("nginx")
    return [path for path in old.keys() | new.keys() if old.get(path) != new.get(path)]


def test_a_further_domain_touches_one_wait_one_certificate_command_and_one_file(graph: Graph) -> None:
    more = run(CONFIG | {"domains": {"b.example": {}}}, secret_keys=("mailboxes",))
    changed = {
        seen.name
        for seen in more.resources.values()
        if seen.urn in graph.resources and dict(seen.inputs) != dict(graph.resources[seen.urn].inputs)
    }
    assert {name for name in changed if name.startswith(("mail-web-", "mail-nginx-"))} == {
        *("mail-web-visible-wait", "mail-web-certificates-request", "mail-web-certificates-issue"),
        *("mail-nginx-files", "mail-nginx-apply"),
    }
    assert _changed_files(graph, more) == ["/etc/nginx/mailhost-domains.conf"]
    asked = more.named("mail-web-certificates-issue").text("stdin")
    assert "autoconfig.b.example autodiscover.b.example mta-sts.b.example\n" in asked
    assert "b.example autoconfig.b.example CNAME mail.example.org\n" in more.named("mail-web-visible-wait").text(
        "stdin"
    )


def test_off_leaves_nothing_and_certbot_answers_itself(graph: Graph) -> None:
    off = run(CONFIG | {"clientSetup": {"enabled": False}}, secret_keys=("mailboxes",))
    assert {seen.name for seen in off.resources.values()} < {seen.name for seen in graph.resources.values()}
    assert not [seen.name for seen in off.resources.values() if "nginx" in seen.name or "mail-web" in seen.name]
    assert not [seen.name for seen in off.resources.values() if seen.inputs.get("type") in ("SRV", "CNAME")]
    assert "--webroot" in graph.named(ISSUE).text("create")
    assert "--webroot" not in off.named(ISSUE).text("create")
    assert "nginx" not in off.named("mail-packages-install").text("stdin")


def test_what_certbot_is_asked_for_is_what_nginx_names(graph: Graph) -> None:
    line = graph.named("mail-web-certificates-issue").text("stdin").split()
    _, sites = graph.staged("nginx")["/etc/nginx/mailhost-domains.conf"]
    assert f"server_name {' '.join(line)};" in sites
    assert f"/etc/letsencrypt/live/{line[0]}/fullchain.pem" in sites
    assert f"/etc/letsencrypt/live/{line[0]}/fullchain.pem" in graph.named("mail-nginx-apply").text("stdin")


def test_another_mode_changes_one_document_and_what_announces_it(graph: Graph) -> None:
    enforcing = run(CONFIG | {"mtaSts": {"mode": "enforce"}}, secret_keys=("mailboxes",))
    assert enforcing.resources.keys() == graph.resources.keys()
    changed = {urn for urn, seen in enforcing.resources.items() if seen.inputs != graph.resources[urn].inputs}
    assert {graph.resources[urn].name for urn in changed} == {
        "mail-nginx-files",
        "mail-nginx-apply",
        "mail-example.org-mta-sts-id",
    }
    assert _changed_files(graph, enforcing) == ["/var/www/mailhost/mta-sts.txt"]


def test_the_policy_is_served_without_the_client_setup(graph: Graph) -> None:
    alone = run(CONFIG | {"clientSetup": {"enabled": False}, "mtaSts": {"enabled": True}}, secret_keys=("mailboxes",))
    assert {seen.name for seen in alone.resources.values()} < {seen.name for seen in graph.resources.values()}
    assert [seen.text("name") for seen in alone.resources.values() if seen.inputs.get("type") == "CNAME"] == [
        "mta-sts.example.org"
    ]
    assert alone.waits_for("mail-example.org-mta-sts-id", "mail-nginx-apply")
    assert "--webroot" in alone.named(ISSUE).text("create")
