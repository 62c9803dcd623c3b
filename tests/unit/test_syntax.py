"""Public suffixes: the quick answer is the list's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from model.syntax import is_public_suffix, registrable_domain

REFERENCE = PublicSuffixList(only_icann=True)
LABELS = ["com", "co", "uk", "ck", "www", "kobe", "jp", "city", "example", "de", "xn--p1ai", "github", "io", "no"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("com", True),
        ("example", True),  # unknown top level: the list's default rule "*"
        ("trixie.example", False),
        ("co.uk", True),
        ("example.co.uk", False),
        ("anything.ck", True),  # *.ck
        ("www.ck", False),  # !www.ck
        ("kobe.jp", True),  # what *.kobe.jp implies
        ("x.kobe.jp", True),  # *.kobe.jp
        ("city.kobe.jp", False),  # !city.kobe.jp
        ("xn--55qx5d.cn", True),  # in the list as 公司.cn
        ("github.io", False),  # the private section: somebody's domain
    ],
)
def test_public_suffix(name: str, expected: bool) -> None:
    assert is_public_suffix(name) is expected
    assert is_public_suffix(name) is (REFERENCE.privatesuffix(name) is None)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4).map(".".join))
def test_it_agrees_with_the_library(name: str) -> None:
    assert is_public_suffix(name) is (REFERENCE.privatesuffix(name) is None)


def test_the_message_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"write the name registered below it: yours\.co\.uk"):
        registrable_domain("Co.Uk")
