"""What the cases of this room hold is told in full where it fails, as in the tests themselves."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("nifti_cases", "torture_cases")
