#!/bin/sh
# Build a wheel, install it in an empty environment and try it: check_wheel.sh PYTHON
# PYTHON is the interpreter of the development environment, which has the build tools.
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

"$python" -m build --wheel --no-isolation --outdir "$work/dist" "$root" >/dev/null
"$python" -m venv "$work/empty"
"$work/empty/bin/python" -m pip install --quiet -c "$root/constraints.txt" "$work"/dist/*.whl
cd "$work"
unset PYTHONPATH || true
"$work/empty/bin/python" -I - <<'PY'
from pathlib import Path

import ctphantom
import tomochrome
from npe2 import PluginManager
from tomochrome.bundles import weights_folder

package = Path(tomochrome.__file__).parent
assert "site-packages" in str(package), package
assert Path(ctphantom.__file__).parent.parent == package.parent
assert weights_folder() == package / "weights", weights_folder()
manager = PluginManager.instance()
manager.discover()
assert "napari-tomochrome" in {manifest.name for manifest in manager.iter_manifests()}
PY
"$work/empty/bin/tomochrome" models --json >/dev/null
"$work/empty/bin/tomochrome" demo --out "$work/demo" --no-window --json >/dev/null
test -s "$work/demo/color.nii.gz"
echo "The wheel works in an empty environment."
