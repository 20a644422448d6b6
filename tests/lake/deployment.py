"""The processes of examples/production/compose.yaml, started on this machine without containers."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "production"
MODULES = {
    "dagster": "dagster",
    "dagster-webserver": "dagster_webserver",
    "dagster-daemon": "dagster._daemon",
}


def wait_until(true: Callable[[], Any], what: str, seconds: float = 180) -> None:
    """Poll; fails when it does not become true in time."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"waited {seconds:g} s for {what}"
        time.sleep(0.25)


class Deployment:
    """The services by name. Each starts with its command, environment and health check of the compose file.

    Args:
        folder: an empty folder, for the instance, the project and the logs.
        settings: values of the variables of .env.example, the address of the instance and of the catalog.
        definitions: what is replaced in definitions.py.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], definitions: Mapping[str, str]) -> None:
        self.home, self.app = folder / "home", folder / "app"
        self.logs = folder / "logs"
        for made in (self.home, self.app, self.logs):
            made.mkdir()
        self.services = yaml.safe_load((FILES / "compose.yaml").read_text())["services"]
        self.ports = {"3000": _free_port(), "4000": _free_port()}
        self.settings = settings
        (self.home / "dagster.yaml").write_text((FILES / "dagster.yaml").read_text())
        self._copy("workspace.yaml", {"4000": self.ports["4000"]})
        self._copy("definitions.py", definitions)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def _copy(self, name: str, changes: Mapping[str, str]) -> None:
        text = (FILES / name).read_text()
        for old, new in changes.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        (self.app / name).write_text(text)

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service: that of the compose file, filled in, and no setting else."""
        given = self.services[service]["environment"]
        own = {name: self.settings.get(name, re.sub(r"\$\{.*\}", "", value)) for name, value in given.items()}
        kept = {name: value for name, value in os.environ.items() if name not in self.settings}
        paths = {"DAGSTER_HOME": str(self.home), "DAGSTER_LOG_DIR": str(self.logs), "PYTHONPATH": str(ROOT)}
        return {**kept, **own, "CODE_HOST": "127.0.0.1", **paths}

    def command(self, words: list[str]) -> list[str]:
        """Return a command of the compose file with this machine's Python, address and ports."""
        if words[0] == "CMD":
            words = words[1:]
        changed = [self.ports.get(word, word).replace("0.0.0.0", "127.0.0.1") for word in words]
        changed = [word.replace(":3000/", f":{self.ports['3000']}/") for word in changed]
        if changed[0] == "python":
            return [sys.executable, *changed[1:]]
        return [sys.executable, "-m", MODULES[changed[0]], *changed[1:]]

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the environment of a service, or the service's own, to its end."""
        command = self.command(list(words) or self.services[service]["command"])
        return subprocess.run(
            command,
            cwd=self.app,
            env=self.environment(service),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self, service: str) -> None:
        """Start a service and wait until its health check passes."""
        with (self.logs / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                self.command(self.services[service]["command"]),
                cwd=self.app,
                env=self.environment(service),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        check = self.services[service]["healthcheck"]["test"]
        wait_until(lambda: self.run(service, *check).returncode == 0, f"{service} to be healthy")

    def kill(self, service: str) -> None:
        """End a service and all it started at once, as a container ends."""
        process = self.running.pop(service)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def deployed(
    folder: Path, settings: Mapping[str, str], definitions: Mapping[str, str]
) -> Iterator[Deployment]:
    """Start everything in the order of the compose file; end it on leaving."""
    deployment = Deployment(folder, settings, definitions)
    try:
        migrated = deployment.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        for service in ("code", "webserver", "daemon"):
            deployment.start(service)
        yield deployment
    finally:
        for service in list(deployment.running):
            deployment.kill(service)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
