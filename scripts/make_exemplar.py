"""Write the settings of the model ``exemplar`` anew, as after fitting ``transfer-function``."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from safetensors.numpy import save

from tomochrome.bundles import weights_folder
from tomochrome.color.palette import palette
from tomochrome.colorization.cards import find_model
from tomochrome.colorization.kinds.transfer_function import load_table

FEATURES = (1.0, 0.5, 50.0)  # L*, its local standard deviation, depth; see `exemplar.PixelMatcher`


def main() -> None:
    """Write weights, and their SHA-256 into the metadata."""
    table = load_table(find_model("transfer-function"))
    table = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-6)
    lightness = (table @ palette("natural").lab[:, 0]).astype(np.float32)
    weights = save({"lightness": lightness, "features": np.float32(FEATURES)})
    bundle = weights_folder() / "exemplar"
    (bundle / "models" / "model.safetensors").write_bytes(weights)
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    metadata["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    file.write_text(f"{json.dumps(metadata, indent=2)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
