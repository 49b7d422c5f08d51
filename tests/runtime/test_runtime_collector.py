"""The garbage collector is paused for imports, and objects are left to the system at the end."""

import gc
import subprocess
import sys

import pytest

from tomochrome.runtime.collector import paused_collector

ENDING = """
import gc
from tomochrome.runtime.collector import exit_quickly
exit_quickly(); exit_quickly()
import atexit
gc.freeze = None  # the registered function is the original one
atexit._run_exitfuncs()
print(gc.get_freeze_count() > 0, gc.isenabled())
"""


def test_it_is_paused_meanwhile_also_by_an_error():
    with pytest.raises(ValueError, match="import"), paused_collector():
        assert not gc.isenabled()
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ValueError("import")
    assert gc.isenabled()


def test_it_stays_off_if_it_was_off():
    gc.disable()
    try:
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_process_leaves_its_objects_at_the_end():
    run = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True"]
