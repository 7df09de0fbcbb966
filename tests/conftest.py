"""Every test runs on any device, strictly: no silent rank promotion, full precision."""

import faulthandler
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import pytest
from symmetric import SHARP, SINGLE


ROOT = Path(__file__).parents[1]

gc.set_threshold(50_000)  # tracing makes many objects, few of them in cycles

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def key():
    """The seed of the tests."""
    return jax.random.key(0)


@pytest.fixture
def double():
    """Float64 within the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """The tolerance that goes with each precision, of matrices as in `symmetric`."""
    with jax.enable_x64(request.param == "float64"):
        yield SHARP if request.param == "float64" else SINGLE


@pytest.fixture
def no_hang():
    """LAPACK cannot be interrupted once it hangs on a NaN: end the process, with a traceback."""
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def on_four_devices():
    """What a script prints last, as JSON, in a process to which the CPU is four devices."""

    def printed(script: str) -> Any:
        four = "--xla_force_host_platform_device_count=4"
        flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {four}", "JAX_PLATFORMS": "cpu"}
        tests = ROOT / "tests"
        paths = os.pathsep.join(map(str, (ROOT, tests, tests / "dynamics")))
        out = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **flags, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert out.returncode == 0, out.stderr[-3000:]
        return json.loads(out.stdout.splitlines()[-1])

    return printed


class Compilations:
    """Counts what JAX compiles, cached on disk or not."""

    count = 0

    def __call__(self, event: str, seconds: float, **_) -> None:
        del seconds
        self.count += event == "/jax/core/compile/backend_compile_duration"


_compilations = Compilations()
jax.monitoring.register_event_duration_secs_listener(_compilations)


@pytest.fixture
def compilations():
    """`compilations.count` grows by one with each program that is compiled."""
    return _compilations


def pytest_collection_modifyitems(items):
    """Tests that share programs or a demonstration stay together, and so in one process.

    Contract tests come case by case, and each demonstration right before its module's tests.
    """
    contract = [i for i, item in enumerate(items) if item.path.name == "test_contract.py"]
    case = lambda item: id(item.callspec.params["case"])
    places = {case: i for i, case in enumerate(dict.fromkeys(case(items[i]) for i in contract))}
    together = sorted((items[i] for i in contract), key=lambda item: places[case(item)])
    for i, item in zip(contract, together, strict=True):
        items[i] = item
    named = lambda item: getattr(item, "originalname", "")
    for item in [i for i in items if named(i).startswith("test_each_demonstration")]:
        name = item.callspec.params["row"].module.rpartition(".")[2]
        own = next((i for i in items if i.path.name == f"test_{name}.py"), None)
        if own is not None:
            items.remove(item)
            items.insert(items.index(own), item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Note the CPU seconds of tests that have a budget."""
    began = time.process_time()
    try:
        return (yield)
    finally:
        mark = item.get_closest_marker("budget")
        if mark:
            spent = time.process_time() - began
            name = item.callspec.id.rpartition("-")[2] if hasattr(item, "callspec") else item.name
            item.user_properties.append(("budget", (mark.args[0], name, spent, mark.args[1])))


def pytest_terminal_summary(terminalreporter):
    """Print what methods and demonstrations cost, beside their budgets."""
    spent: dict[tuple[str, str], list[float]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "budget":
                kind, case, seconds, budget = value
                spent.setdefault((kind, case), [0.0, budget])[0] += seconds
    if spent:
        terminalreporter.section("CPU seconds, compiling included (budget)")
    for (kind, case), (seconds, budget) in sorted(spent.items(), key=lambda i: -i[1][0]):
        over = "  over its budget" if seconds > budget else ""
        terminalreporter.write_line(f"{seconds:6.1f} ({budget})  {kind}: {case}{over}")
