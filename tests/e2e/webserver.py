"""Dagster's own web server on a free port of this machine, over an instance that is already there."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


@contextmanager
def webserver(home: Path, *target: str, seconds: float = 120) -> Iterator[str]:
    """Serve a project and give the server's address; end it on leaving.

    No daemon runs beside it: looking changes nothing.

    Args:
        home: the folder with dagster.yaml; the server runs in it.
        target: what to load, as for `dagster-webserver`: `-w workspace.yaml`, `-m module`.
        seconds: how long it may take to load.
    """
    port = _free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *target]
    with (home / ".webserver.log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=home, env=_environment(home), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_up(f"http://127.0.0.1:{port}", process, seconds, log.name)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)
    Path(log.name).unlink()


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "DAGSTER_HOME": str(home.resolve())}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, process: "subprocess.Popen[bytes]", seconds: float, log: str) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"dagster-webserver ended with code {process.returncode}; see {log}")
        try:
            urlopen(f"{url}/server_info").close()
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"dagster-webserver did not answer at {url} within {seconds:g} s; see {log}")
