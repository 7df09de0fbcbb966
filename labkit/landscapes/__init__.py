"""Seeing a loss and its curvature.

Reading order: surface_descent, lanczos_spectrum.
"""
