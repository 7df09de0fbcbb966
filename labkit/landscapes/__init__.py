"""Seeing a loss and its curvature.

Reading order: descent_on_a_surface, lanczos_spectrum.
"""
