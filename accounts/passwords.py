"""Passwords: asked for without echo, refused when weak, and hashed as Dovecot verifies them."""

import getpass
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from argon2 import PasswordHasher

from accounts.errors import AccountsError
from toolchain.console import Progress

# Argon2id as RFC 9106 §4 recommends it where memory is scarce, in one lane: Dovecot's libsodium computes lanes one
# after another, and `doveadm pw` makes its own so.
_HASHER: Final = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
_SCHEME: Final = "{ARGON2ID}"
_LEAST: Final = 12
_MOST: Final = 256
_LEAST_DIFFERENT: Final = 6
# What guessing starts with; NIST SP 800-63B §3.1.1.2 wants such passwords refused, however long they are.
_WORDS: Final = ("password", "passwort", "motdepasse", "contrasena", "letmein", "welcome", "iloveyou", "changeme")
_RUNS: Final = ("01234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl")
_RUN: Final = 6
_SHORTEST_NAME: Final = 4


def ask(address: str) -> str:
    """Ask twice on a terminal, without echo; else take the one line that comes on standard input.

    Raises:
        AccountsError: the two differ, or it is weak.
    """
    if sys.stdin.isatty():
        password = getpass.getpass(f"New password for {address}: ")
        if not weakness(password, address) and getpass.getpass("The same again: ") != password:
            raise AccountsError(["the two passwords differ; nothing was changed"])
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    problem = weakness(password, address)
    if problem:
        raise AccountsError([f"the password {problem}"])
    return password


def weakness(password: str, address: str) -> str:
    """Say what is wrong with a password, without showing it; nothing when it will do."""
    lower, name = password.lower(), address.partition("@")[0]
    plain = re.sub(r"[^a-z0-9]", "", lower)
    reasons = (
        (not password.strip(), f"is empty; give at least {_LEAST} characters"),
        (not password.isprintable(), "has a control character; give letters, digits, signs and spaces"),
        (len(password) < _LEAST, f"is too short; give at least {_LEAST} characters, such as four unrelated words"),
        (len(password) > _MOST, f"is too long; give at most {_MOST} characters"),
        (
            len(set(password)) < _LEAST_DIFFERENT,
            f"repeats itself; give {_LEAST_DIFFERENT} different characters or more",
        ),
        (len(name) >= _SHORTEST_NAME and name in lower, "contains the name of the mailbox; give one that does not"),
        (any(word in plain for word in _WORDS), "contains a word that is guessed first; give another"),
        (any(run in plain for run in _runs()), "has keys or digits in a row, which are guessed first; give another"),
    )
    return next((reason for wrong, reason in reasons if wrong), "")


def hashed_one(password: str) -> str:
    """Return a password's hash: {ARGON2ID} as Dovecot stores it."""
    return _SCHEME + _HASHER.hash(password)


def hashed(passwords: Sequence[str]) -> list[str]:
    """Return each password's hash, in order, with progress: each takes a core 0.2 s."""
    # argon2 lets other threads run while it works.
    with ThreadPoolExecutor(os.cpu_count()) as pool, Progress("hashing passwords", total=len(passwords)) as progress:
        made = []
        for number, text in enumerate(pool.map(hashed_one, passwords), start=1):
            made.append(text)
            progress.advance(number)
    return made


@cache
def _runs() -> list[str]:
    pieces = [run[start : start + _RUN] for run in _RUNS for start in range(len(run) - _RUN + 1)]
    return pieces + [piece[::-1] for piece in pieces]
