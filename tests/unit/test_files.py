"""Files and the manifest that names them."""

import json

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhostctl import staging
from model.files import ConfigFile, render
from model.manifest import bundle, manifest


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"path": "etc/x"}, "not an absolute path"),
        ({"path": "/etc/../root/x"}, "not an absolute path"),
        ({"mode": "644"}, "not four octal digits"),
        ({"mode": "0888"}, "not four octal digits"),
        ({"content": "no newline"}, "no newline"),
    ],
)
def test_a_file_the_host_would_refuse_is_not_made(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ConfigFile(**{"path": "/etc/x", "content": "x\n", **changes})


def test_the_content_stays_out_of_messages() -> None:
    assert "hunter2" not in repr(ConfigFile(path="/etc/x", content="hunter2\n"))


def test_a_name_the_context_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="mailboxes"):
        render("postfix/virtual_mailboxes.j2", {})


names = st.text(alphabet="abcdefgh", min_size=1, max_size=5)
files = st.dictionaries(names, st.text(max_size=20)).map(
    lambda found: [ConfigFile(path=f"/etc/{name}", content=f"{text}\n") for name, text in found.items()]
)


@given(files=files, data=st.data())
def test_the_manifest_is_the_same_for_the_same_files_in_any_order(files: list[ConfigFile], data: st.DataObject) -> None:
    text = manifest(files, ["unit x"], ["/b", "/a"])
    assert manifest(data.draw(st.permutations(files)), ["unit x"], ["/a", "/b"]) == text
    document = json.loads(text)
    assert {path: entry["sha256"] for path, entry in document["files"].items()} == {f.path: f.sha256 for f in files}
    assert text.endswith("}\n")


@given(files=files, data=st.data())
def test_the_host_reads_the_files_that_were_sent(files: list[ConfigFile], data: st.DataObject) -> None:
    text = bundle(files)
    assert bundle(data.draw(st.permutations(files))) == text
    assert staging.read("files", text.encode()) == {f.path: ("0644 root:root", f.content.encode()) for f in files}


def test_the_order_of_probes_is_kept() -> None:
    assert json.loads(manifest([], ["unit b", "tcp 1 a"]))["health"] == ["unit b", "tcp 1 a"]


def test_one_path_twice_is_an_error() -> None:
    file = ConfigFile(path="/etc/x", content="")
    with pytest.raises(ValueError, match="listed twice"):
        manifest([file, file])
