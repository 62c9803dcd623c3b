"""Gets the commands this project needs onto the machine; run `python3 -m toolchain --help`.

Owns the cache's `bin/` (pulumi, its Python language host, uv, actionlint), the cache's `tools/` (a virtual environment
for programs that come from PyPI) and the clone's `.venv`. Standard library only: it runs before anything is installed.
It never touches a `pulumi` that the user installed, and not the lab.
"""
