"""Progress is optional, and cancel is heard at the next check."""

from __future__ import annotations

import pytest

from tomochrome.errors import Cancelled
from tomochrome.runtime import CancelToken, check, report


def test_report_calls_whoever_listens() -> None:
    heard: list[tuple[int, int, str]] = []
    report(lambda done, total, stage: heard.append((done, total, stage)), 1, 2, "read")
    report(None, 2, 2, "read")
    assert heard == [(1, 2, "read")]


def test_check_raises_only_after_cancel() -> None:
    token = CancelToken()
    check(token)
    check(None)
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        check(token)
