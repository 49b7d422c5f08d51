"""Warnings of the DICOM library are noted for each thread; those of others go their way."""

from __future__ import annotations

import threading
import warnings

import pytest

from tomochrome.io.dicom.warning_capture import captured_warnings


def test_notes_are_of_this_thread_only_and_filters_come_back():
    filters = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()
    other: list[str] = []

    def work():
        with captured_warnings() as notes:
            warnings.warn("theirs", stacklevel=1)
            inside.set()
            leave.wait(600)
            other.extend(notes)

    thread = threading.Thread(target=work)
    with captured_warnings() as notes:
        thread.start()
        assert inside.wait(600)
        warnings.warn("ours", stacklevel=1)
        with captured_warnings() as inner:
            warnings.warn("inner", stacklevel=1)
        assert inner == ["inner"]
        assert notes == ["ours"]
    leave.set()
    thread.join()
    assert other == ["theirs"]
    assert warnings.filters == filters
    with pytest.raises(UserWarning, match="loud again"):
        warnings.warn("loud again", stacklevel=1)
