"""Ground floor: progress and cancel, the computing device, files written whole."""

from tomochrome.runtime.device import (
    DEVICE_NAMES,
    DeviceName,
    choose_device,
    free_memory,
    out_of_memory,
    thread_count,
)
from tomochrome.runtime.files import check_writable, write_group, write_whole
from tomochrome.runtime.progress import (
    CancelToken,
    Progress,
    check,
    look,
    report,
    watched,
    watching,
)
from tomochrome.runtime.work_folder import clear_leftovers

__all__ = [
    "DEVICE_NAMES",
    "CancelToken",
    "DeviceName",
    "Progress",
    "check",
    "check_writable",
    "choose_device",
    "clear_leftovers",
    "free_memory",
    "look",
    "out_of_memory",
    "report",
    "thread_count",
    "watched",
    "watching",
    "write_group",
    "write_whole",
]
