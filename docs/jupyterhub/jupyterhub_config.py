"""JupyterHub for a class on one machine: each student opens the student copies in JupyterLab.

    .venv/bin/jupyterhub -f docs/jupyterhub/jupyterhub_config.py

README.md beside this file says what to install, and why each setting is as it is.
"""

from pathlib import Path


LAB = Path(__file__).resolve().parents[2]  # the checkout, with .venv, .cache/jax and build/student
THREADS = 2  # of computation for each student
MINUTES = 60

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

# Students are the members of this group of the machine.
c.JupyterHub.authenticator_class = "pam"
c.LocalAuthenticator.allowed_groups = {"students"}

# The student's own process takes the copies: new ones are added, nothing is written over.
START = 'cp -rn "$0/build/student/." ~/labkit; exec "$0/.venv/bin/jupyterhub-singleuser" "$@"'
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.cmd = ["sh", "-c", START, str(LAB)]
c.Spawner.notebook_dir = "~"
c.Spawner.default_url = "/lab/tree/labkit/00_start_here.ipynb"
c.Spawner.start_timeout = c.Spawner.http_timeout = 300  # s; a whole class starts at once

c.Spawner.environment = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    # Everyone reads the programs that the owner of the checkout compiled; nobody adds one: who
    # could write here would run code as everyone else.
    "JAX_COMPILATION_CACHE_DIR": str(LAB / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9",
    "NPROC": str(THREADS),  # of JAX
    "OMP_NUM_THREADS": str(THREADS),
    "OPENBLAS_NUM_THREADS": str(THREADS),
}

# A kernel that did nothing goes, also with its page open; then the server without kernels.  What
# a playing Explorer draws counts as doing something.
c.Spawner.args = [
    f"--MappingKernelManager.cull_idle_timeout={MINUTES * 60}",
    "--MappingKernelManager.cull_interval=300",
    "--MappingKernelManager.cull_connected=True",
    f"--ServerApp.shutdown_no_activity_timeout={MINUTES * 60}",
]
