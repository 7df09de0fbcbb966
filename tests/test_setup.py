"""What a fresh machine relies on: one list of dependencies, pinned; files kept clean."""

import itertools
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
MOST_BYTES = 500_000
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PLATFORMS = {"linux": "posix", "darwin": "posix", "win32": "nt"}

# Split, so that this file does not find itself.
REGISTRY = re.compile(
    r"pypi" + r"\.org|python" + r"hosted|registry\." + r"npmjs|anaconda" + r"\.org"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.$}/~-])/(?:home|Users|root|work|opt|tmp|mnt)/\w|[A-Z]:\\+Users\\"
)


def direct_dependencies():
    listed = [*PROJECT["dependencies"], *EXTRAS["lab"], *EXTRAS["test"]]
    return [Requirement(line) for line in listed]


def locked(name="requirements.lock"):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def tracked_files(*patterns):
    """The files in git, and those that the next `git add` would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this copy is not a git checkout, so what is tracked is not known")
    paths = {ROOT / name for name in listed.stdout.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def is_text(path):
    return b"\0" not in path.read_bytes()[:8192]


def notebooks():
    return [
        (path.relative_to(ROOT).as_posix(), json.loads(path.read_text(encoding="utf-8")))
        for path in tracked_files("*.ipynb")
    ]


def test_conda_installs_only_python_pip_and_the_project():
    *from_conda, from_pip = ENVIRONMENT["dependencies"]
    assert sorted(Requirement(line).name for line in from_conda) == ["pip", "python"]
    assert from_pip == {"pip": ["-e .[lab,test]"]}


def test_condas_python_is_one_the_project_accepts():
    python = next(
        Requirement(line) for line in ENVIRONMENT["dependencies"][:-1] if "python" in line
    )
    accepted = SpecifierSet(PROJECT["requires-python"])
    others = ["3.8", "3.9", "3.10", *PYTHONS]
    assert [v for v in others if v in python.specifier] == [v for v in others if v in accepted]


def test_the_extras_exist():
    assert set(EXTRAS) == {"lab", "test", "site", "gpu", "bench"}


@pytest.mark.parametrize(
    "name", ["jupyterlab", "ipywidgets", "jax", "matplotlib", "plotly", "nbval", "pytest"]
)
def test_the_lab_and_its_tests_bring(name):
    assert name in {requirement.name for requirement in direct_dependencies()}


def test_gpu_takes_the_same_jax():
    (gpu,) = map(Requirement, EXTRAS["gpu"])
    (jax,) = (r for r in direct_dependencies() if r.name == "jax")
    assert (gpu.name, gpu.specifier) == ("jax", jax.specifier)


@pytest.mark.parametrize("requirement", direct_dependencies(), ids=lambda r: r.name)
def test_a_direct_dependency_has_one_pin_in_its_range_on_every_system(requirement):
    name = canonicalize_name(requirement.name)
    pins = [pin for pin in locked() if canonicalize_name(pin.name) == name]
    for python, platform in itertools.product(PYTHONS, PLATFORMS):
        system = {
            "python_version": python,
            "python_full_version": python + ".9",
            "sys_platform": platform,
            "os_name": PLATFORMS[platform],
        }
        chosen = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(system)]
        assert len(chosen) == 1, f"{name} on {platform}, {python}: {chosen}; run `make lock`"
        (version,) = [s.version for s in chosen[0].specifier if s.operator == "=="]
        assert version in requirement.specifier, f"{chosen[0]} is outside {requirement}"


LOCKS = ["requirements.lock", "requirements-site.lock"]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_versions_only(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith("-") or "://" in line]
    assert all(str(pin.specifier).startswith("==") for pin in locked(name))


def test_the_pages_are_made_with_the_versions_of_the_lab():
    labs = {pin.name for pin in locked()}
    versions = {(pin.name, pin.specifier) for pin in locked()}
    for pin in locked("requirements-site.lock"):
        assert pin.name not in labs or (pin.name, pin.specifier) in versions, "run `make lock`"
    sites = {canonicalize_name(pin.name) for pin in locked("requirements-site.lock")}
    assert {canonicalize_name(Requirement(line).name) for line in EXTRAS["site"]} <= sites


def test_no_file_names_a_registry_or_a_place_on_someones_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        if is_text(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if REGISTRY.search(line) or MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_file_is_large():
    large = [path for path in tracked_files() if path.stat().st_size > MOST_BYTES]
    assert not large, f"over {MOST_BYTES} bytes: {large}"


def test_notebooks_hold_no_outputs_counts_or_widget_state():
    for name, notebook in notebooks():
        assert "widgets" not in notebook["metadata"], (
            f"{name} holds widget state: run `make format`"
        )
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                spent = cell["outputs"] or cell["execution_count"] is not None
                assert not spent, f"{name}, cell {cell['id']} holds output: run `make format`"


def test_notebook_cells_have_ids_of_their_own():
    for name, notebook in notebooks():
        ids = [cell.get("id") for cell in notebook["cells"]]
        assert None not in ids, f"{name} has a cell without an id"
        assert len(ids) == len(set(ids)), f"{name} has two cells with one id"


def test_the_licence_is_the_one_declared():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_workflow_runs_what_the_script_runs():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands[-1] == "bash .ci/run"
    assert not [c for c in commands if re.search(r"\b(make|pip|uv|pytest)\b", c)]
    python = next(s["with"]["python-version"] for s in steps if "setup-python" in s.get("uses", ""))
    assert PROJECT["requires-python"] == f">={python}", "CI tests the oldest Python"


def test_the_script_of_ci_installs_and_tests_with_make():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    assert re.search(r"^timed .* make .*\btest$", script, re.MULTILINE)
    assert os.name == "nt" or os.access(ROOT / ".ci/run", os.X_OK)
