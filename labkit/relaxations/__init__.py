"""Discrete things with gradients.

Reading order: soft_sort.
"""
