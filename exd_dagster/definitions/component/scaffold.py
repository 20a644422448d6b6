"""The text of a first project, in Python and in YAML: what `init` and `dg scaffold` write."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FlagDraft:
    """One flag of a new project.

    Attributes:
        fields: arguments of `FlagAudit`, without the split.
        split: the suggested split; written as a comment, for a person to confirm.
        seen: the observed shares, as text.
    """

    fields: Mapping[str, str]
    split: Mapping[str, float]
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """The contents of a new project.

    Attributes:
        kind: `type` of the records in YAML: parquet, files or table.
        records: arguments of the records object.
        flags: the flags listed.
        daily: whether a partition is a day.
        note: a remark on the flags, "" for none.
        fleet: its name, where the project has another fleet; else "".
    """

    kind: str = "parquet"
    records: Mapping[str, Any] = field(default_factory=lambda: {"path": "logs/*.parquet"})
    flags: Sequence[FlagDraft] = ()
    daily: bool = False
    note: str = ""
    fleet: str = ""


def example(fleet: str = "") -> Draft:
    """Return a draft to adapt: one flag, and the name of the fleet where the project has another."""
    flag = FlagDraft(
        {"key": f"new-{fleet or 'checkout'}-flow", "start": "2026-03-01"},
        {"control": 0.5, "treatment": 0.5},
        "an example: name your own flag, declare its split, uncomment",
    )
    return Draft(flags=(flag,), fleet=fleet)


_WHY_DAILY = "weeks of history at once: a partition a day, with 24 hourly bins in each"
CLASSES = {"parquet": "ParquetRecords", "files": "FileRecords", "table": "TableRecords"}


def python_project(draft: Draft) -> str:
    """Return definitions.py: under 40 lines for up to three flags."""
    given = [f"{name}={_python(value)}" for name, value in draft.records.items()]
    records = given[0] if len(given) == 1 else "".join(f"\n        {one}," for one in given) + "\n    "
    note = f"  # {draft.note}" if draft.note else ""
    flags = "".join(_python_flag(flag) for flag in draft.flags)
    grain = f'    grain="day",  # {_WHY_DAILY}\n' if draft.daily else ""
    return f'''"""The audit of our feature flags. Open it with: dagster dev"""

import dagster as dg  # noqa: F401 - for dg.EnvVar below
import exd_dagster as exd
from dagster_duckdb import DuckDBResource

FLAGS = [{note}
{flags}]

defs = exd.build_flag_audit_defs(
    flags=FLAGS,
    mode="observe",  # set to "block" once you trust the verdicts: failing flags then block their reports
    records=exd.{CLASSES[draft.kind]}({records}),
    store=DuckDBResource(database="bins.duckdb"),
{grain}    alerts=[  # destinations; try: exd-dagster test-alert --flag {draft.flags[0].fields["key"]}
        # exd.SlackAlerts(token=dg.EnvVar("SLACK_BOT_TOKEN"), channel="#experiments"),
    ],
    # base_url="https://dagster.example.com",  # for links in alerts
)
'''


def _python_flag(flag: FlagDraft) -> str:
    who, when = _arguments(flag, "key", "namespace", "environment"), _arguments(flag, "start", "end")
    return (
        "    exd.FlagAudit(\n"
        f"        {who},\n"
        f"        {when},\n"
        f"        # split={_python(flag.split)},  # {flag.seen}\n"
        "    ),\n"
    )


def _arguments(flag: FlagDraft, *names: str) -> str:
    return ", ".join(f"{name}={_python(flag.fields[name])}" for name in names if name in flag.fields)


def _python(value: object) -> str:
    """Return `value` as Python writes it, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python(key)}: {_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_python, value)) + "]"
    return repr(value)


def component_yaml(type_name: str, draft: Draft) -> str:
    """Return defs.yaml of a component.

    Args:
        type_name: the component, as the file names it.
        draft: what to write.
    """
    records = "".join(
        f"    {name}: {_yaml(value)}\n" for name, value in {"type": draft.kind, **draft.records}.items()
    )
    note = f"  # {draft.note}" if draft.note else ""
    flags = "".join(_yaml_flag(flag) for flag in draft.flags)
    grain = f"  grain: day  # {_WHY_DAILY}\n" if draft.daily else ""
    fleet = f"  name: {draft.fleet}  # of this fleet: its jobs, sensors and decisions are called after it\n"
    return f"""type: {type_name}

attributes:
{fleet if draft.fleet else ""}  records:
{records}  store: bins.duckdb  # the DuckDB file of the bins
{grain}  mode: observe  # set to block once you trust the verdicts: failing flags then block their reports

  flags:{note}
{flags}
  # Alert destinations. Secrets stay in the environment.
  # alerts:
  #   - type: slack
  #     token: "{{{{ env.SLACK_BOT_TOKEN }}}}"
  #     channel: "#experiments"
  # base_url: https://dagster.example.com  # for links in alerts
"""


def _yaml_flag(flag: FlagDraft) -> str:
    first, *others = [f"{name}: {_yaml(value)}" for name, value in flag.fields.items()]
    lines = [
        f"    - {first}",
        *(f"      {line}" for line in others),
        f"      # split: {_yaml(flag.split)}  # {flag.seen}",
    ]
    return "\n".join(lines) + "\n"


def _yaml(value: object) -> str:
    """Return `value` as YAML; JSON is valid YAML, and its quotes keep on, off and 0123 as text."""
    return json.dumps(value, ensure_ascii=False)


DAGSTER_YAML = """\
# The instance of this folder: `dagster dev` here keeps its data in ./.dagster.
telemetry: {enabled: false}
nux: {enabled: false}
storage: {sqlite: {base_dir: .dagster}}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {base_dir: .dagster}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {base_dir: .dagster/logs}
concurrency:
  runs: {max_concurrent_runs: 4}
  pools: {default_limit: 1, granularity: op} # one writer per DuckDB file
# A run whose process is lost is marked failed and retried once; a failed check is not retried.
run_monitoring: {enabled: true, start_timeout_seconds: 300, max_runtime_seconds: 3600}
run_retries: {enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false}
retention:
  sensor: {purge_after_days: {skipped: 1, success: 7, failure: 30}}
  schedule: {purge_after_days: {skipped: 7, success: 90, failure: 90}}
sensors: {use_threads: true, num_workers: 4}
schedules: {use_threads: true, num_workers: 2}
"""


def workspace_yaml(module: str, location: str = "flag_audit") -> str:
    """Return the workspace.yaml of a project with one code location in the same folder."""
    place = f"working_directory: ., location_name: {location}"
    return f"load_from:\n  - python_module: {{module_name: {module}, {place}}}\n"


PYPROJECT_TOML = """\
[project]
name = "flag_audit"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = ["exd-dagster"]

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "flag_audit"
code_location_name = "flag_audit"
"""

COMPONENT_DEFINITIONS = """\
from pathlib import Path

from dagster import Definitions, definitions, load_from_defs_folder


@definitions
def defs() -> Definitions:
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
