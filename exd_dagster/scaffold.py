"""The text of a first project, in Python and in YAML: what `init` and `dg scaffold` write."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FlagDraft:
    """One flag as a first project lists it.

    Attributes:
        fields: arguments of `FlagAudit`, without the split.
        split: what the declared split may be; written as a comment, for a person to confirm.
        seen: what was seen of it, in a few words.
    """

    fields: Mapping[str, str]
    split: Mapping[str, float]
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a first project says.

    Attributes:
        kind: `type` of the records in YAML: parquet, files or table.
        records: arguments of the records object.
        flags: the flags listed.
        store: DuckDB file of the bins.
        notes: remarks, one line each.
    """

    kind: str = "parquet"
    records: Mapping[str, Any] = field(default_factory=lambda: {"path": "logs/*.parquet"})
    flags: Sequence[FlagDraft] = (
        FlagDraft(
            {"key": "new-checkout-flow", "start": "2026-03-01"},
            {"control": 0.5, "treatment": 0.5},
            "an example: name your own flag",
        ),
    )
    store: str = "bins.duckdb"
    notes: Sequence[str] = ()


CLASSES = {"parquet": "ParquetRecords", "files": "FileRecords", "table": "TableRecords"}


def python_project(draft: Draft) -> str:
    """Return definitions.py: under 40 lines for up to eight flags."""
    records = ", ".join(f"{name}={value!r}" for name, value in draft.records.items())
    notes = "".join(f"# {note}\n" for note in draft.notes)
    flags = "".join(_python_flag(flag) for flag in draft.flags)
    return f'''"""The audit of our feature flags. Look at it with: dagster dev"""

import dagster as dg  # noqa: F401 - for dg.EnvVar below
from dagster_duckdb import DuckDBResource

import exd_dagster as exd

MODE = "observe"  # flip to "block" once the answers convince you: failing flags then stop their reports

{notes}FLAGS = [
{flags}]

defs = exd.build_flag_audit_defs(
    flags=FLAGS,
    records=exd.{CLASSES[draft.kind]}({records}),
    store=DuckDBResource(database={draft.store!r}),
    alerts=[  # who is told; try it with: exd-dagster test-alert --flag {draft.flags[0].fields["key"]}
        # exd.SlackAlerts(token=dg.EnvVar("SLACK_BOT_TOKEN"), channel="#experiments"),
    ],
    # base_url="https://dagster.example.com",  # for links in alerts
)
'''


def _python_flag(flag: FlagDraft) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in flag.fields.items())
    return (
        f"    exd.FlagAudit({fields}, mode=MODE,  # {flag.seen}\n"
        f"        # split={_shares(flag.split)},  # confirm it with who set it up, then uncomment\n"
        "    ),\n"
    )


def component_yaml(type_name: str, draft: Draft | None = None) -> str:
    """Return defs.yaml of a component.

    Args:
        type_name: the component, as the file names it.
        draft: what to write; None: an example to adapt.
    """
    draft = draft or Draft()
    records = "".join(
        f"    {name}: {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in {"type": draft.kind, **draft.records}.items()
    )
    notes = "".join(f"  # {note}\n" for note in draft.notes)
    flags = "".join(_yaml_flag(flag) for flag in draft.flags)
    return f"""type: {type_name}

attributes:
  records:
{records}  store: {draft.store}  # the DuckDB file that keeps the bins

  defaults:
    mode: observe  # flip to block once the answers convince you: failing flags then stop their reports
{notes}  flags:
{flags}
  # Who is told. Secrets stay in the environment.
  # alerts:
  #   - type: slack
  #     token: "{{{{ env.SLACK_BOT_TOKEN }}}}"
  #     channel: "#experiments"
  # base_url: https://dagster.example.com  # for links in alerts
"""


def _yaml_flag(flag: FlagDraft) -> str:
    first, *others = [
        f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in flag.fields.items()
    ]
    lines = [
        f"    - {first}  # {flag.seen}",
        *(f"      {line}" for line in others),
        f"      # split: {_shares(flag.split)}  # confirm it with who set it up, then uncomment",
    ]
    return "\n".join(lines) + "\n"


def _shares(split: Mapping[str, float]) -> str:
    return json.dumps(dict(split), ensure_ascii=False)
