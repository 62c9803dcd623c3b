"""Packs mailhostctl into one file, the same bytes wherever and whenever it is built."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/python3 -I\n"
_START = b"import sys\n\nfrom mailhostctl.__main__ import main\n\nsys.exit(main())\n"
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
