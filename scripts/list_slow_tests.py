"""Write tests/slow.txt: the tests that `make test-quick` leaves out.

    make test-fast PYTEST_ARGS="--junitxml=build/tests.xml"
    python scripts/list_slow_tests.py build/tests.xml
    make test-quick PYTEST_ARGS="--junitxml=build/quick.xml"
    python scripts/list_slow_tests.py build/tests.xml build/quick.xml

A test function is in the list if it, or one of its cases, took longer than `--seconds` in one of
the reports. The second report shows what the first cannot: a fixture that several tests share
counts for the first of them, and where that one is left out, for the next.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.etree import ElementTree

OUT = Path(__file__).resolve().parents[1] / "tests" / "slow.txt"


def main() -> None:
    """Read the reports of pytest and write the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", type=Path, nargs="+", help="what pytest wrote with --junitxml")
    parser.add_argument("--seconds", type=float, default=0.25)
    options = parser.parse_args()
    slow = {
        f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').split('[')[0]}"
        for report in options.reports
        for case in ElementTree.parse(report).getroot().iter("testcase")
        if float(case.get("time", "0")) >= options.seconds
    }
    OUT.write_text("\n".join(sorted(slow)) + "\n", encoding="utf-8")
    print(f"{len(slow)} slow tests in {OUT}")


if __name__ == "__main__":
    main()
