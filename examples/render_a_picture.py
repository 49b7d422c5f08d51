"""Draw a colored scan in 3D, as a picture and as a film of a turn around the patient.

Usage: ``python examples/render_a_picture.py SERIES OUT.png``. Without arguments, a sample patient
is generated and colored.
"""

from __future__ import annotations

import sys

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.rendering import annotated, save_picture, turntable


def main(source: str | None = None, target: str = "organs.png") -> None:
    """Read, color, draw and write."""
    volume = tc.read(source) if source else make_patient(3, "abdomen", (6.0, 2.0, 2.0)).ct
    chroma = tc.colorize(volume)  # once for all pictures
    draft = {"preset": "organs", "quality": "draft", "size": (500, 400)}
    save_picture(tc.render(volume, chroma, view="30/10", **draft), target, force=True)
    frames = [annotated(picture) for picture in turntable(volume, chroma, 6, **draft)]
    frames[0].save("turn.gif", save_all=True, append_images=frames[1:], duration=200, loop=0)
    print(f"{target}, and turn.gif with {len(frames)} frames: not for diagnosis")


if __name__ == "__main__":
    main(*sys.argv[1:3])
