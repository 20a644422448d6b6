"""examples/dbt on PostgreSQL: real dbt-core joins what `publish=` wrote."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.definitions.publish.warehouse import Warehouse
from tests.fleet import Fleet
from tests.logs import broken, healthy
from tests.servers.postgres import running

pytestmark = pytest.mark.engines
ROOT = Path(__file__).parents[2]
DBT = ROOT / ".venv-dbt" / ("Scripts" if sys.platform == "win32" else "bin") / "dbt"
HOURS = 6

FILES = {
    "dbt_project.yml": "name: reports\nversion: '1.0'\nprofile: here\n"
    "models: {reports: {+materialized: table}}\n",
    "profiles.yml": "here:\n  target: here\n  outputs:\n    here: {}\n",
    "models/metrics.sql": "SELECT flag_key, hour, evaluations FROM {{ source('exd', 'flag_bins') }}\n",
}


@pytest.mark.skipif(not DBT.exists(), reason="dbt is not installed in .venv-dbt; see `make engines`")
def test_the_dbt_model_leaves_out_rows_of_a_flag_that_is_not_trusted(tmp_path):
    with running() as server:
        address = server.create("analytics")
        with server.connected("analytics") as connection:
            connection.execute("CREATE SCHEMA exd")
        warehouse = Warehouse(connection=address, schema_name="exd")
        fleet = Fleet(
            tmp_path / "audit", {"good": healthy(HOURS), "bad": broken(HOURS)}, options={"publish": warehouse}
        )
        with dg.DagsterInstance.ephemeral() as instance:
            fleet.run(instance)
            fleet.run(instance, dg.AssetSelection.assets("flag_trust", "flag_tables"), hours=False)
        project = write_project(tmp_path / "dbt", {**server.address, "dbname": "analytics"})
        line = [str(DBT), "build", "--project-dir", str(project), "--profiles-dir", str(project)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=project)
        assert done.returncode == 0, done.stdout
        with server.connected("analytics") as connection:
            flags = connection.execute("SELECT flag_key, count(*) FROM reports.trusted_metrics GROUP BY 1")
            metrics = connection.execute("SELECT DISTINCT flag_key FROM reports.metrics ORDER BY 1")
            assert (flags.fetchall(), metrics.fetchall()) == ([("good", 2 * HOURS)], [("bad",), ("good",)])


def write_project(folder: Path, address: dict[str, object]) -> Path:
    (folder / "models").mkdir(parents=True)
    target = {"type": "postgres", "password": "", "schema": "reports", "threads": 1, **address}
    for name, text in FILES.items():
        (folder / name).write_text(text.replace("{}\n", json.dumps(target) + "\n"))
    for file in (ROOT / "examples" / "dbt").iterdir():
        shutil.copy(file, folder / "models")
    source = folder / "models" / "exd.yml"
    source.write_text(source.read_text() + "      - name: flag_bins\n")
    return folder
