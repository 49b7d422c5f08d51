"""A phantom CT made in a child process is the one made here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tomochrome.errors import TomochromeError
from tomochrome.phantom import make_patient
from tomochrome.phantom.sandboxed import make_ct

SMALL = {"spacing": (20.0, 10.0, 10.0), "phase": "portal"}


def test_it_is_the_same_ct():
    made, expected = make_ct("abdomen", **SMALL), make_patient(region="abdomen", **SMALL).ct
    np.testing.assert_array_equal(made.voxels, expected.voxels)
    np.testing.assert_allclose(made.affine, expected.affine)
    assert made.unit == "HU"
    assert made.provenance.source == expected.provenance.source
    assert made.provenance.history[0] == expected.provenance.history[0]


def test_a_wrong_option_is_the_same_error():
    with pytest.raises(TomochromeError, match="nowhere"):
        make_ct("nowhere")


def test_nothing_is_compiled_in_this_process():
    code = (
        "import sys; from tomochrome.phantom.sandboxed import make_ct; "
        f"make_ct('head', **{SMALL}); "
        "print([m for m in ('numba', 'tomochrome.phantom.patient') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
