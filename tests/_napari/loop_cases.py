"""Running the event loop of a real window for a while."""

from __future__ import annotations

import time

HANG_SECONDS = 1500.0
"""Who waits for longer, waits for something that hangs."""


def wait_until(qapp, done):
    end = time.monotonic() + HANG_SECONDS
    while not done():
        assert time.monotonic() < end, "it hangs"
        qapp.processEvents()
        time.sleep(0.002)


def rest(qapp, seconds):
    end = time.monotonic() + seconds
    wait_until(qapp, lambda: time.monotonic() > end)
