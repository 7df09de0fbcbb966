"""Waiting for an Explorer."""

import time


PATIENCE = 30.0  # seconds: a machine may be busy


def until(explorer, holds):
    """Wait until something holds; fails with the explorer's status when it does not."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {explorer.status}"
        time.sleep(0.005)
