"""Packs mailhostctl into one file, and into a program that installs it: the same bytes wherever it is built."""

from __future__ import annotations

import base64
import bz2
import io
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/python3 -I\n"
_START = b"import sys\n\nfrom mailhostctl.__main__ import main\n\nsys.exit(main())\n"
_INSTALLER = """\
import base64, bz2, subprocess, sys, tempfile
with tempfile.NamedTemporaryFile() as copy:
    copy.write(bz2.decompress(base64.b64decode({archive!r})))
    copy.flush()
    sys.exit(subprocess.run([sys.executable, "-I", copy.name, "install", *sys.argv[1:]]).returncode)
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a ZIP entry can have."""


def zipapp() -> bytes:
    """The program as a Python zip application: sorted, dated 1980, mode 0644, stored (compressors differ)."""
    package = Path(__file__).parent / "mailhostctl"
    sources = {"__main__.py": _START}
    sources |= {f"mailhostctl/{file.name}": file.read_bytes() for file in sorted(package.glob("*.py"))}
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, content in sources.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, content)
    return buffer.getvalue()


def installer(archive: bytes) -> str:
    """A Python program that carries a zip application and runs its `install` with the arguments it gets.

    bzip2, because every version of it compresses to the same bytes.
    """
    return _INSTALLER.format(archive=base64.b64encode(bz2.compress(archive)).decode())
