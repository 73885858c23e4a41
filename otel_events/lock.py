"""Locks between processes: `flock` on an open file, which a process that dies lets go.

A forked child closes its copies of its parent's locks, which it would otherwise keep for as long as it lives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_open: set[int] = set()


def available() -> bool:
    """Whether this system has such locks."""
    return fcntl is not None


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open file; True also where the system has no such locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock of that name for the block, which gets False where another process holds it. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _open.add(fd)
    try:
        yield try_lock(fd)
    finally:
        _open.discard(fd)
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of this file: a shared lock, held for a moment, on a read-only descriptor tells.

    Where the system has no such locks nobody can tell, and the answer is no. Raises OSError.
    """
    if fcntl is None:
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _let_go() -> None:
    while _open:
        os.close(_open.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
