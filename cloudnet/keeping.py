"""Something that is looked at again and again, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keeping(what: str, look: Callable[[], float]) -> Iterator[None]:
    """Call ``look`` until the end of the block; it returns the seconds until the next time."""
    ending = threading.Event()

    def keep() -> None:
        while not ending.wait(look()):
            pass

    thread = threading.Thread(target=keep, name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
