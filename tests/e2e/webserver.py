"""Dagster's own UI on a free port of this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def webserver(home: Path, *target: str, daemon: bool = False, seconds: float = 120) -> Iterator[str]:
    """Serve a project and give the server's address; end it on leaving.

    Args:
        home: the folder with dagster.yaml; the server runs in it.
        target: what to load, as for `dagster dev`: `-w workspace.yaml`, `-f definitions.py`.
        daemon: True for `dagster dev`, whose daemon launches runs; without it looking changes nothing.
        seconds: how long it may take to load.
    """
    port = _free_port()
    program = ["dagster", "dev"] if daemon else ["dagster_webserver"]
    command = [sys.executable, "-m", *program, "-h", "127.0.0.1", "-p", str(port), *target]
    log = home / ".dagster" / f"webserver-{port}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env={**os.environ, "DAGSTER_HOME": str(home.resolve()), "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_up(f"http://127.0.0.1:{port}", process, seconds, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)
    log.unlink()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask Dagster and all it started to end; they ignore it where the shell that began them did."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, process: "subprocess.Popen[bytes]", seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Dagster ended with code {process.returncode}; see {log}")
        try:
            urlopen(f"{url}/server_info").close()
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"Dagster did not answer at {url} within {seconds:g} s; see {log}")
