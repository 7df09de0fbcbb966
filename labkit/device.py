"""Where the lab runs: the badge of a notebook and what `doctor` looks at."""

import importlib.metadata
import shutil
import sys

import jax
import jax.numpy as jnp


WIDGETS = ("jupyterlab", "ipywidgets", "anywidget", "plotly")  # what a live figure needs


def describe() -> str:
    """One line: device, precision, version of JAX."""
    device = jax.devices()[0]
    count = f"{jax.device_count()} x " if jax.device_count() > 1 else ""
    bits = jnp.zeros(()).dtype
    return f"{count}{device.device_kind} ({device.platform}), {bits}, JAX {jax.__version__}"


def version(package: str) -> str:
    """The installed version of a package, or ""."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def examine() -> tuple[list[tuple[str, str]], list[str]]:
    """What there is, as (name, what), and what is missing, in sentences."""
    cache = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    browsers = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, browsers)), "")
    found = [
        ("device", describe()),
        ("python", sys.version.split()[0]),
        *[(name, version(name) or "missing") for name in ("labkit", "jax", "numpy", *WIDGETS)],
        ("compilation cache", cache or "off: programs are compiled anew in each process"),
        ("browser for tests", browser or "none found"),
    ]
    missing = [
        f"{name} is missing: live figures need it (install labkit with its extra `lab`)."
        for name in WIDGETS
        if not version(name)
    ]
    return found, missing
