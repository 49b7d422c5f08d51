"""Progress is optional, and cancel is heard at the next check."""

from __future__ import annotations

import threading

import pytest

from tomochrome.errors import Cancelled
from tomochrome.runtime import CancelToken, check, look, report, watched, watching


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


def stopped() -> CancelToken:
    token = CancelToken()
    token.cancel()
    return token


def test_a_token_is_watched_as_long_as_asked_for() -> None:
    look()  # nothing is watched
    with watching(stopped()), pytest.raises(Cancelled):
        look()
    look()


def test_the_inner_token_is_watched_and_none_leaves_the_outer_one() -> None:
    with watching(stopped()):
        with watching(CancelToken()):
            look()
        with watching(None), pytest.raises(Cancelled):
            look()


def test_an_error_ends_the_watch() -> None:
    with pytest.raises(ZeroDivisionError), watching(stopped()):
        1 / 0  # noqa: B018
    look()


def test_other_threads_have_tokens_of_their_own() -> None:
    heard: list[str] = []

    def work() -> None:
        look()
        heard.append("went on")

    with watching(stopped()):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert heard == ["went on"]


def test_a_watched_function_takes_its_token_from_the_keyword() -> None:
    @watched
    def work(number: int, *, cancel: CancelToken | None = None) -> int:
        """Add one."""
        look()
        return number + 1

    assert work(1) == work(1, cancel=CancelToken()) == work(1, cancel=None) == 2
    assert work.__doc__ == "Add one."
    with pytest.raises(Cancelled):
        work(1, cancel=stopped())
    with watching(stopped()), pytest.raises(Cancelled):
        work(1)
