"""Files and the text in which they travel."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhostctl import staging
from model.bundle import bundle
from model.files import ConfigFile, render


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
def test_the_host_reads_what_was_sent_whatever_its_order(files: list[ConfigFile], data: st.DataObject) -> None:
    text = bundle(files, ["unit b", "tcp 1 a"], ["/b", "/a"])
    assert bundle(data.draw(st.permutations(files)), ["unit b", "tcp 1 a"], ["/a", "/b"]) == text
    manifest, contents = staging.read(text.encode())
    assert contents == {file.path: file.content.encode() for file in files}
    assert {path: (entry.mode, entry.owner, entry.sha256) for path, entry in manifest.files.items()} == {
        file.path: (0o644, "root:root", file.sha256) for file in files
    }
    assert manifest.health == ("unit b", "tcp 1 a")
    assert manifest.requires == ("/a", "/b")


def test_one_path_twice_is_an_error() -> None:
    file = ConfigFile(path="/etc/x", content="")
    with pytest.raises(ValueError, match="listed twice"):
        bundle([file, file])
