"""Write the expected colors of the model ``exemplar`` anew, as after a change of the palette.

They are those of the palette ``natural``, but for the brain: photographs of sections show it
frozen, yellow-brown, where the palette has that of the living.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from safetensors.numpy import save

from tomochrome.bundles import weights_folder
from tomochrome.color.palettes import palette
from tomochrome.tissue import Tissue

FROZEN_BRAIN = (63.0, 16.4, 27.5)  # mean of cortex and white matter, white-balanced


def main() -> None:
    """Write weights, and their SHA-256 into the metadata."""
    colors = np.array(palette("natural").lab, np.float32)
    colors[Tissue.BRAIN] = FROZEN_BRAIN
    weights = save({"colors": colors})
    bundle = weights_folder() / "exemplar"
    (bundle / "models" / "model.safetensors").write_bytes(weights)
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    metadata["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    file.write_text(f"{json.dumps(metadata, indent=2)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
