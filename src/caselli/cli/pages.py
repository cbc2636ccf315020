"""Memory that the process has freed stays with it."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of the settings in glibc's malloc.h."""
OWN_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
"""Variables by which a user settles it; then nothing is changed."""


def keep_pages() -> None:
    """Freed memory stays with the process (glibc; elsewhere nothing happens).

    Else every tensor over 32 MB is made of new pages each time, at 0.4 ms a megabyte: a seventh of the time
    of a training step on a processor is then the operating system's. For a process of our own only: a library
    leaves its host's allocator alone.

    Example:
        >>> keep_pages()
    """
    if any(name in os.environ for name in OWN_SETTINGS):
        return
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
