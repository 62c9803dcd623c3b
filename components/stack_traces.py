"""What the SDK notes of every resource beside its inputs: by which calls it was made."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def omitted() -> Iterator[None]:
    """Let resources be made without; for a hundred domains that is a tenth of a preview.

    The SDK reads them by `traceback.extract_stack`, which takes as many frames as `sys.tracebacklimit` says.
    """
    sys.tracebacklimit = 1
    try:
        yield
    finally:
        del sys.tracebacklimit
