"""Maps of space: transforms, and the Jacobian determinant of what they do to it."""

from tomochrome.transform.composite import Step, Transform, Warp, follow
from tomochrome.transform.jacobian_determinant import jacobian_map

__all__ = ["Step", "Transform", "Warp", "follow", "jacobian_map"]
