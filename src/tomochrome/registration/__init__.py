"""Registration: velocity fields, similarities, the symmetric network, refinement.

torch is imported when one of these is used, not before.
"""
