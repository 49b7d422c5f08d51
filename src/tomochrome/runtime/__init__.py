"""Shared infrastructure: progress and cancellation, device selection, atomic file output."""

from tomochrome.runtime.device import (
    DEVICE_NAMES,
    DeviceName,
    choose_device,
    free_memory,
    out_of_memory,
    thread_count,
)
from tomochrome.runtime.task import (
    Progress,
    Task,
    ThreadPool,
    check,
    current,
    quietly,
    report,
    running,
)
from tomochrome.runtime.whole_files import (
    check_beside,
    check_writable,
    write_group,
    write_text,
    write_whole,
)
from tomochrome.runtime.work_folder import clear_leftovers

__all__ = [
    "DEVICE_NAMES",
    "DeviceName",
    "Progress",
    "Task",
    "ThreadPool",
    "check",
    "check_beside",
    "check_writable",
    "choose_device",
    "clear_leftovers",
    "current",
    "free_memory",
    "out_of_memory",
    "quietly",
    "report",
    "running",
    "thread_count",
    "write_group",
    "write_text",
    "write_whole",
]
