"""What teachers are given beside the notebooks: the page, the hub, Binder and Colab."""

import ast
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from traitlets.config import Config


ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
PAGE = (ROOT / "docs" / "teach.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \[(.+)\]\(\.\./notebooks/(.+)\) \| (\d+) \| (.+) \|$", re.MULTILINE)
HUB = ROOT / "docs" / "jupyterhub" / "jupyterhub_config.py"
BINDER = ROOT / ".binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def cells(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def lab_settings():
    """The settings that the Makefile exports, by name."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^export (JAX_\w+) \?= (\S+)$", text, re.MULTILINE))


@pytest.fixture
def hub():
    """The settings of the hub: `get_config` is what JupyterHub puts there."""
    config = Config()
    exec(HUB.read_text(encoding="utf-8"), {"get_config": lambda: config, "__file__": str(HUB)})
    return config


def test_the_table_lists_every_notebook_once_and_in_order():
    found = [name for _, name, _, _ in ROW.findall(PAGE)]
    there = (p.relative_to(NOTEBOOKS) for p in NOTEBOOKS.rglob("*.ipynb"))
    wanted = [p for p in there if ".ipynb_checkpoints" not in p.parts]
    number = lambda p: (p.parent.as_posix(), int(p.name.partition("_")[0]))
    assert found == [p.as_posix() for p in sorted(wanted, key=number)]


@pytest.mark.parametrize("title, name, minutes, question", ROW.findall(PAGE))
def test_a_row_says_what_the_notebook_says(title, name, minutes, question):
    first, *rest = cells(NOTEBOOKS / name)
    assert first.startswith(f"# {title}\n")
    assert re.search(r"\*\*Time\.\*\* (?:About )?(\d+)", first)[1] == minutes
    assert any("*Predict.*" in text and question in text for text in rest)


@pytest.mark.parametrize("page", ["docs/teach.md", "docs/jupyterhub/README.md"])
def test_links_between_pages_lead_somewhere(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    assert links
    assert [x for x in links if "://" not in x and not (path.parent / x).exists()] == []


def test_the_hub_computes_as_the_lab_does_but_never_writes_what_others_load(hub):
    environment = hub.Spawner.environment
    precision = "JAX_DEFAULT_MATMUL_PRECISION"
    assert environment[precision] == lab_settings()[precision]
    assert environment["JAX_PLATFORMS"] == "cpu"
    cache = lab_settings()["JAX_COMPILATION_CACHE_DIR"].replace("$(CURDIR)", str(ROOT))
    assert Path(environment["JAX_COMPILATION_CACHE_DIR"]) == Path(cache)
    hours = float(environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]) / 3600
    assert hours > 24, "what compiles for less is not written"
    threads = {environment[name] for name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    assert threads == {"2"}
    assert all(isinstance(value, str) for value in environment.values())


def test_the_hub_hands_out_copies_and_opens_the_first(hub):
    assert hub.JupyterHub.authenticator_class == "pam"
    assert hub.LocalAuthenticator.allowed_groups == {"students"}
    shell, flag, script, here = hub.Spawner.cmd
    assert (shell, flag, Path(here)) == ("sh", "-c", ROOT)
    copy, _, start = script.partition("; ")
    assert copy == 'cp -rn "$0/build/student/." ~/labkit', "-n: nothing is written over"
    assert start == 'exec "$0/.venv/bin/jupyterhub-singleuser" "$@"'
    opened = hub.Spawner.default_url.removeprefix("/lab/tree/labkit/")
    assert (NOTEBOOKS / opened).is_file()


def test_the_hub_culls_idle_kernels_and_then_their_servers(hub):
    settings = dict(argument.removeprefix("--").split("=") for argument in hub.Spawner.args)
    assert settings["MappingKernelManager.cull_connected"] == "True"
    idle = int(settings["MappingKernelManager.cull_idle_timeout"])
    assert idle == int(settings["ServerApp.shutdown_no_activity_timeout"]) == 3600
    assert 0 < int(settings["MappingKernelManager.cull_interval"]) < idle


def test_binder_installs_the_lock_on_a_python_that_the_project_accepts():
    """In `postBuild`, as Binder copies a requirements.txt without the files that it refers to."""
    after = (BINDER / "postBuild").read_text(encoding="utf-8")
    lines = [line for line in after.splitlines() if "pip install" in line]
    assert [line.split("--no-cache-dir ")[1] for line in lines] == [
        "-r requirements.lock",
        "--no-deps -e .",
    ]
    python = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
    assert python in SpecifierSet(PROJECT["requires-python"])
    assert {path.name for path in BINDER.iterdir()} == {"postBuild", "runtime.txt", "start"}
    news = re.compile(r"\{\"@jupyterlab/apputils-extension:notification\".*?\}\}")
    assert news.findall(after) == news.findall((ROOT / "Makefile").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_a_script_of_binder_can_be_run_and_stops_at_an_error(name):
    text = (BINDER / name).read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert os.name == "nt" or os.access(BINDER / name, os.X_OK)


def test_binder_starts_with_the_settings_of_the_lab():
    text = (BINDER / "start").read_text(encoding="utf-8")
    settings = {n: v.strip('"') for n, v in re.findall(r"(JAX_\w+)=(\S+)", text)}
    wanted = {n: v.replace("$(CURDIR)", "$PWD") for n, v in lab_settings().items()}
    assert settings == {**wanted, "JAX_PLATFORMS": "cpu"}
    assert text.endswith('exec "$@"\n')


def test_the_addresses_of_binder_and_colab_open_the_start_notebook_of_no_ones_copy():
    addresses = re.findall(r"https://(?:mybinder|colab|github)\S+", PAGE)
    assert len(addresses) == 3
    assert all("/OWNER/REPOSITORY" in address for address in addresses)
    opened = [a for a in addresses if a.endswith(".ipynb")]
    assert len(opened) == 2
    assert all(a.endswith("/notebooks/00_start_here.ipynb") for a in opened)


def test_colab_gets_the_lab_without_jupyterlab():
    (cell,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (install,) = (line for line in cell.splitlines() if line.startswith("%pip"))
    lab = [line for line in PROJECT["optional-dependencies"]["lab"] if "jupyterlab" not in line]
    asked = re.findall(r'"([^"]+)"', install)
    assert sorted(map(str, map(Requirement, asked))) == sorted(map(str, map(Requirement, lab)))
    python = "\n".join(line for line in cell.splitlines() if not line.startswith(("!", "%")))
    assert "output.enable_custom_widget_manager()" in python
    ast.parse(python)
