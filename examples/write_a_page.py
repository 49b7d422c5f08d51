"""Write one HTML file that shows a colored scan in any web browser, and two models side by side.

Usage: ``python examples/write_a_page.py SERIES OUT.html``. Without arguments, a sample patient is
generated and colored.
"""

from __future__ import annotations

import sys

import tomochrome as tc
from tomochrome.color import Lighting
from tomochrome.colorization.case_coloring import add_models, case_page
from tomochrome.phantom import make_patient
from tomochrome.runtime import write_whole


def main(source: str | None = None, target: str = "case.html") -> None:
    """Read, color with two models and write the page."""
    volume = tc.read(source) if source else make_patient(1, "head", (8.0, 2.0, 2.0)).ct
    settings = Lighting.of(volume, window="auto", min_confidence=0.3)
    page = case_page(volume, tc.colorize(volume), settings)
    skipped = add_models(page, ["transfer-function"])
    with write_whole(target, force=True) as place:
        page.write(place)
    print(f"{target}: {', '.join(coloring.title for coloring in page.colorings)}", *skipped)


if __name__ == "__main__":
    main(*sys.argv[1:3])
