"""Tests of the command line read stderr, to which a slow machine must not add progress."""

from __future__ import annotations

import pytest

from tomochrome.cli import session


@pytest.fixture(autouse=True)
def no_progress_in_logs(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "short_work" not in request.node.name:
        monkeypatch.setattr(session, "_QUIET_SECONDS", 1e9)
