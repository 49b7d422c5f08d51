"""Maps of space: transforms, and the Jacobian determinant of what they do to it."""

from tomochrome.transform.jacobian import jacobian_map
from tomochrome.transform.steps import Step, Warp, follow
from tomochrome.transform.transform import Transform

__all__ = ["Step", "Transform", "Warp", "follow", "jacobian_map"]
