"""Fixtures that all tests share, and what keeps chance and the clock out of them."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Libraries read these when they are imported, some of them (numpy) before this file.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")

# napari reads and writes no settings: a test must not depend on the user's theme or window size.
os.environ["NAPARI_CONFIG"] = ""

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# Which examples a property is tried on depends on nothing but the test itself, and how long they
# take decides nothing. `make fuzz` takes the other profile and looks for new ones; what it finds
# is added to the test as an explicit example.
COMMON = {"deadline": None, "database": None, "print_blob": True}
CLOCK = [HealthCheck.too_slow]
settings.register_profile("ci", derandomize=True, suppress_health_check=CLOCK, **COMMON)
settings.register_profile("fuzz", max_examples=1000, suppress_health_check=CLOCK, **COMMON)
settings.load_profile("ci")

TORCH_SEED = 67280421310721  # the one that torch itself starts with


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[object]) -> None:
    """Share the cores among the processes of pytest-xdist, which inherit this environment.

    With as many threads in each as there are cores, those of OpenMP wait for each other in loops
    that take the cores from the other processes.
    """
    share = max(1, (os.cpu_count() or 1) // len(specs))
    for name in THREADS:
        os.environ.setdefault(name, str(share))
    # Mesa's software rendering: 0 for the calling thread alone
    os.environ.setdefault("LP_NUM_THREADS", str(share if share > 1 else 0))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no modules whose tests all open a window, where ``-m`` leaves those out."""
    if "not gui" not in config.option.markexpr or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if "\npytestmark = pytest.mark.gui\n" in text else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow.txt, which `make test-quick` leaves out."""
    slow = set(Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").split())
    for item in items:
        if item.nodeid.split("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Pause the garbage collector while the test modules are imported, which takes a sixth less.

    What they imported, a million objects, is left out of all later collections.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_runtest_setup() -> None:
    """Start every test with the same random numbers, whichever tests ran before it."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(TORCH_SEED)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the repository; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    return SHARED


@pytest.fixture
def settings_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Redirect napari's stored settings of this plugin away from the user's real ones."""
    from qtpy.QtCore import QSettings

    folder = tmp_path_factory.mktemp("settings")
    ini, user = QSettings.Format.IniFormat, QSettings.Scope.UserScope
    QSettings.setPath(ini, user, str(folder))
    return folder
