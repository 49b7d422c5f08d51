"""One module picks the device and the threads, and says what is not there."""

from __future__ import annotations

import pytest
import torch

from tomochrome.errors import DeviceError, OptionError
from tomochrome.runtime import choose_device, thread_count


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu").type == "cpu"


def test_auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"


def test_a_device_asked_for_and_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="'cuda' was requested"):
        choose_device("cuda")


def test_unknown_devices_are_named_with_the_choices() -> None:
    with pytest.raises(OptionError, match="auto, cpu, cuda, mps"):
        choose_device("tpu")


def test_threads() -> None:
    assert thread_count(3) == 3
    assert thread_count() >= 1
    with pytest.raises(OptionError, match="at least 1"):
        thread_count(0)
