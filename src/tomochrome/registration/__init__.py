"""Registration: initial alignment, symmetric network, refinement, measures and warnings.

torch is imported only on use.
"""
