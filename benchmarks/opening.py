"""Time of `import tomochrome` and `tomochrome --help`: CPU seconds in addition to Python's.

python benchmarks/opening.py
"""

from __future__ import annotations

import resource
import subprocess
import sys

CASES = {
    "import tomochrome": "import tomochrome",
    "tomochrome --help": "from tomochrome.cli import main; main(['--help'])",
}
MAX_SECONDS = 0.3


def cpu_seconds(code: str) -> float:
    """Return the minimum CPU time (user and system) of five runs of Python, in seconds."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def main() -> int:
    """Print the figures; return 1 if one is too large."""
    least = cpu_seconds("pass")
    took = {name: cpu_seconds(code) - least for name, code in CASES.items()}
    for name, seconds in took.items():
        print(f"{name}: {seconds:.3f} s of CPU (at most {MAX_SECONDS})")
    return int(max(took.values()) > MAX_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
