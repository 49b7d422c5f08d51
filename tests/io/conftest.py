"""Assertions in the cases of this folder are explained in full, as in the tests themselves."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("nifti_cases", "torture_cases")
