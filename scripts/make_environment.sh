#!/bin/sh
# Make a virtual environment: make_environment.sh PYTHON FOLDER
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null 2>&1; then
    echo "Python is missing: install Python 3.11, 3.12 or 3.13, or name one with make PYTHON=..." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "$("$python" --version) is not supported: name a Python 3.11, 3.12 or 3.13 with make PYTHON=..." >&2
    exit 1
fi
# Debian and Ubuntu keep venv in a package of its own.
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } >&2
    else
        echo "Python's venv is missing: install it, for example with: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi
"$python" -m venv "$folder"
