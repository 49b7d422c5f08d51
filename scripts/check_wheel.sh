#!/bin/sh
# Build sdist and wheel, install the wheel in an empty environment and try it, first without and
# then with napari: check_wheel.sh PYTHON [FOLDER]
# PYTHON is the interpreter of the development environment, which has the build tools. FOLDER gets
# the two files if all is well.
set -eu
python=$1
target=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
[ -z "$target" ] || { mkdir -p "$target" && target=$(cd "$target" && pwd); }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# The wheel is built from the sdist, which must therefore be complete.
"$python" -m build --no-isolation --outdir "$work/dist" "$root" >/dev/null
wheel=$(echo "$work"/dist/*.whl)
"$python" -m venv "$work/empty"
"$work/empty/bin/python" -m pip install --quiet -c "$root/constraints.txt" "$wheel"
cd "$work"
unset PYTHONPATH || true
"$work/empty/bin/python" -I - <<'PY'
from importlib.util import find_spec
from pathlib import Path

import ctphantom
import tomochrome
from tomochrome.bundles import weights_folder
from tomochrome.training.export import read_license

package = Path(tomochrome.__file__).parent
assert "site-packages" in str(package), package
assert Path(ctphantom.__file__).parent.parent == package.parent
assert weights_folder() == package / "weights", weights_folder()
assert read_license().startswith("BSD 3-Clause License")
window_system = ("napari", "qtpy", "PyQt6", "PySide6", "vispy", "magicgui", "superqt")
assert not any(map(find_spec, window_system)), "the core needs no napari and no Qt"
PY
"$work/empty/bin/tomochrome" models --json >/dev/null
"$work/empty/bin/tomochrome" demo --out "$work/demo" --no-window --json >/dev/null
test -s "$work/demo/color.nii.gz"

"$work/empty/bin/python" -m pip install --quiet -c "$root/constraints.txt" "${wheel}[napari]"
"$work/empty/bin/python" -I - <<'PY'
from npe2 import PluginManager

manager = PluginManager.instance()
manager.discover()
assert "napari-tomochrome" in {manifest.name for manifest in manager.iter_manifests()}
PY
[ -z "$target" ] || cp "$work"/dist/* "$target"
echo "The wheel works in an empty environment, without and with napari."
