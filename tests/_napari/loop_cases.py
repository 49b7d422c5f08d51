"""Letting the event loop of a real window run for a while."""

from __future__ import annotations

import time


def wait_until(qapp, done, seconds):
    end = time.perf_counter() + seconds
    while not done():
        assert time.perf_counter() < end, "it took too long"
        qapp.processEvents()
        time.sleep(0.002)


def rest(qapp, seconds):
    end = time.perf_counter() + seconds
    wait_until(qapp, lambda: time.perf_counter() > end, seconds + 5)
