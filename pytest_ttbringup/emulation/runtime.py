"""What must be in place before `ttnn` is imported, so that TT-NN finds a machine that is not there.

TT-Metal takes three things from the environment: a cluster descriptor whose chips it shall mock, a runtime root where
it finds its kernels and their compiler, and a folder for compiled kernels. The installed package is not touched: the
runtime root is an overlay of links to it, with the compiler stand-in where Tenstorrent's compiler would be.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path

from pytest_ttbringup.emulation.cluster import cluster_descriptor, cluster_of
from pytest_ttbringup.emulation.compiler import install_compiler
from pytest_ttbringup.emulation.mesh_graph import mesh_graph_descriptor, needs_mesh_graph
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.files import write_atomically
from pytest_ttbringup.targets.systems import System

_LINKED = ("tt_metal", "ttnn", "runtime/hw")


def prepare(*, system: System, cache_dir: Path, mesh: tuple[int, int] | None = None, worker_id: str = "main") -> None:
    """Set up this process, and those it starts, for the emulated device.

    Args:
        system: the machine to stand for.
        mesh: the largest mesh (rows, columns) to be opened, by default the system's own. Only the system `custom` is
            built to it.
        cache_dir: a folder of the user's; holds the overlay (a few links), the descriptor and TT-Metal's kernel cache.
        worker_id: pytest-xdist's name of this worker. Workers keep their kernel caches apart, which TT-Metal does not
            lock.

    Raises:
        BringupError: `ttnn` is imported already or not installed, the system can't be emulated, or the cache can't be
        written.
    """
    if "ttnn" in sys.modules:
        raise BringupError(
            "ttnn was imported before the emulated target was set up, so it looked for real devices. "
            "Import ttnn in test modules or fixtures, not in a plugin or at the top of an early conftest.py; "
            "or name the target with --tt-target=silicon."
        )
    cluster = cluster_of(system, mesh or system.mesh)
    root = cache_dir / "emulated" / worker_id
    try:
        _overlay(root, _installed_ttnn())
        descriptor_file = root / f"{system.name}.yaml"
        write_atomically(descriptor_file, _as_yaml(cluster_descriptor(cluster)))
        mesh_graph_file = root / f"{system.name}.textproto"
        if needs_mesh_graph(cluster):
            write_atomically(mesh_graph_file, mesh_graph_descriptor(cluster).encode())
    except OSError as error:
        raise BringupError(
            f"can't write the emulated target's files below {str(root)!r}: {error.strerror or error}. "
            "Give a folder you may write with --tt-cache=DIR."
        ) from error
    os.environ["TT_METAL_MOCK_CLUSTER_DESC_PATH"] = str(descriptor_file)
    if needs_mesh_graph(cluster):
        os.environ["TT_MESH_GRAPH_DESC_PATH"] = str(mesh_graph_file)
    else:
        os.environ.pop("TT_MESH_GRAPH_DESC_PATH", None)  # one of the user's would be for another machine
    os.environ["TT_METAL_RUNTIME_ROOT"] = str(root)
    os.environ["TT_METAL_CACHE"] = f"{root / 'kernels'}/"  # TT-Metal joins file names to this without a separator
    os.environ["TT_METAL_LOGS_PATH"] = str(root)  # else TT-Metal writes `generated/` into the working directory
    os.environ["TT_METAL_INSPECTOR"] = "0"  # a debugging server for hung devices; there is nothing to hang
    # TT-NN's refusals come with 20 lines of addresses in its libraries, which bury the sentence that says what is
    # wrong.
    os.environ.setdefault("TT_METAL_DISABLE_BACKTRACE", "1")
    # A simulator or slow dispatch asked for elsewhere would send TT-Metal down another path than the mock.
    for name in ("TT_METAL_SIMULATOR", "TT_METAL_SLOW_DISPATCH_MODE"):
        os.environ.pop(name, None)


def _installed_ttnn() -> Path:
    found = importlib.util.find_spec("ttnn")
    if found is None or found.origin is None:
        raise BringupError(
            "ttnn is not installed in this Python. It has wheels for CPython 3.10 and 3.12: run `make test`, which "
            "makes a virtual environment with one of them, or `pip install ttnn`."
        )
    return Path(found.origin).parent


def _overlay(root: Path, package: Path) -> None:
    for name in _LINKED:
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() and link.readlink() != package / name:
            link.unlink()  # another virtual environment used this cache before
        if not link.is_symlink():
            with suppress(FileExistsError):  # another process was quicker
                link.symlink_to(package / name)
    install_compiler(root / "runtime" / "sfpi")


def _as_yaml(descriptor: dict[str, object]) -> bytes:
    import yaml

    return yaml.safe_dump(descriptor, sort_keys=False).encode()
