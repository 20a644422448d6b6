"""Write docs/configuration.md from the models.

python -m docs.make_configuration
"""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dagster_duckdb import DuckDBResource
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exd_dagster.alerts.policy.routes import Route
from exd_dagster.config import Event, FlagAudit, Phase, Scalar, Thresholds, Timing
from exd_dagster.definitions.alerting.destinations import DESTINATIONS
from exd_dagster.definitions.alerting.monitoring import Monitoring
from exd_dagster.definitions.component.component import FlagAuditComponent, ManifestFlags
from exd_dagster.definitions.component.stores import STORES
from exd_dagster.definitions.component.vendor_flags import VendorFlags
from exd_dagster.definitions.component.yaml import READ_WHEN_SENDING, SECRETS, Kinds
from exd_dagster.definitions.publish.warehouse import Warehouse
from exd_dagster.definitions.reports.reconcile import Reconcile
from exd_dagster.telemetry.sources import RECORDS, IbisRecords

PAGE = Path(__file__).with_name("configuration.md")

WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    datetime: "instant",
    date: "instant",
    timedelta: "duration",
    Path: "text",
    type(None): "",
    Callable[..., Any]: "a function",
    Any: "any",
    Scalar: "text, number or switch",
    DuckDBResource: "text or [DuckLakeResource](#ducklakeresource)",
}

INTRODUCTION = """\
# Configuration

Every key of every model, made from the models themselves by `python -m docs.make_configuration`. The names
are the same in Python, where a model is a class (`exd.FlagAudit(key=...)`), and in YAML, where it is a
mapping (`key: ...`).

- An **instant** has an offset (`2026-03-01T09:00Z`, `2026-03-01T09:00+01:00`), or is a bare date, which is
  its midnight in UTC.
- A **duration** is written `30m`, `1h`, `2d` or `1w`; in Python `timedelta` too.
- An unknown key is an error that names the nearest right one. All faults of a file are reported at once, in
  YAML with their lines.
- YAML reads `on`, `off`, `yes` and `no` as true and false: put such variant names in quotes.
- `{{ env.NAME }}` stands for an environment variable. A secret must be one: SECRETS.
  These, and OTHERS, are read when a message is sent; every other
  template is rendered when definitions load.
- Relative paths are those of the folder Dagster runs in; `{{ context.project_root }}` names the project's
  own.

## An example in YAML

```yaml
type: exd_dagster.FlagAuditComponent

attributes:
  records:
    type: parquet
    path: logs/*.parquet
    columns: {unit_id_hash: user_id}
  store: bins.duckdb

  defaults: {mode: observe, start: 2026-03-01, owners: ["team:growth"]}
  flags:
    - key: new-checkout-flow
      split: {control: 0.5, treatment: 0.5}
    - key: search-ranking
      split: {control: 0.34, bm25: 0.33, semantic: 0.33}
      mode: block
      phases:
        - {start: 2026-04-01, split: {control: 0.5, bm25: 0.25, semantic: 0.25}}

  alerts:
    - type: slack
      token: "{{ env.SLACK_BOT_TOKEN }}"
      channel: "#experiments"
    - type: email
      host: smtp.example.com
      to: [growth@example.com]
      user: exd
      password: "{{ env.SMTP_PASSWORD }}"
  routes:
    - {flag: "search-*", to: [slack, email]}
    - {to: [slack]}
  base_url: https://dagster.example.com

  thresholds: {srm: {min_sample_size: 200}}
  timing: {lateness: 2h}
```

`dg scaffold defs exd_dagster.FlagAuditComponent NAME` writes a file to start from, `exd-dagster init
--yaml` one for your own log,
and `dg check yaml` holds a file to the schema.
"""

VENDOR_FLAGS = """ In Python: `flags_from`. In YAML one of `flags_from`:

```yaml
type: exd_dagster.StateBackedFlagAuditComponent

attributes:
  records: exposures/*.parquet
  store: bins.duckdb
  flags_from:
    - url: https://us.posthog.com/api/projects/1/feature_flags/
      headers: {Authorization: "Bearer {{ env.POSTHOG_KEY }}"}
      history: flags/posthog
      start: 2026-03-01
```

`FlagAuditComponent` takes `path`. `StateBackedFlagAuditComponent`, a state-backed component of Dagster, takes
`url` too: `dg utils refresh-defs-state` asks the API, `dagster dev` does so when it starts, and definitions
load from the state alone. Its `defs_state` says where the state is kept (`management_type`:
`LOCAL_FILESYSTEM` or `VERSIONED_STATE_STORAGE`)."""

RECORDS_SECTION = """\
## Records

A path or glob alone is enough where the columns have exd's names: text files end in `.csv`, `.tsv`,
`.ndjson`, `.jsonl` or `.json` (also
gzipped), anything else is Parquet. Other names, and what every row would repeat, are said once:

```python
import exd_dagster as exd

exd.FileRecords(
    path="exposures.csv",
    columns={"unit_id_hash": "user_id", "variant_key": "group"},
    constants={"flag_key": "landing-page"},
)
```

Needed are `timestamp`, `flag_key`, `variant_key` and `unit_id_hash`; used where present `evaluation_id`,
`namespace`, `environment`,
`manifest_version`, `evaluation_reason` and `ingested_at`.
"""

ENVIRONMENT = """\
## Environment variables

| variable | does |
|---|---|
| `EXD_DAGSTER_ALERTS=off` | alerts are logged, not sent; branch deployments of Dagster+ do so too |
| `EXD_DAGSTER_TRACEBACK=1` | the `exd-dagster` command shows where an unexpected error came from |
| `DAGSTER_HOME` | the instance that `exd-dagster` commands speak of; else the dagster.yaml in the folder |
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the whole page."""
    others = sorted(READ_WHEN_SENDING - SECRETS)
    introduction = INTRODUCTION.replace("SECRETS", _listed(sorted(SECRETS))).replace(
        "OTHERS", _listed(others)
    )
    return "\n".join([introduction, *sections(), ENVIRONMENT])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def sections() -> Iterator[str]:
    """Return one section per model, the outermost first."""
    yield section(
        "The whole audit", FlagAuditComponent, "`build_flag_audit_defs(...)` or `FlagAuditComponent`."
    )
    yield section("FlagAudit", FlagAudit, _first(FlagAudit) + " One of `flags`.")
    yield section("Phase", Phase, _first(Phase) + " One of `phases`.")
    yield section("Event", Event, _first(Event) + " One of `events`.")
    yield section(
        "ManifestFlags", ManifestFlags, _first(ManifestFlags) + " In Python: `flags_from_manifest`."
    )
    yield section(
        "Reconcile",
        Reconcile,
        _first(Reconcile) + " One of `reconcile`; in Python also `build_reconcile_check`.",
    )
    yield section("VendorFlags", VendorFlags, _first(VendorFlags) + VENDOR_FLAGS)
    yield RECORDS_SECTION
    for name, model in RECORDS.items():
        yield section(model.__name__, model, f"{_first(model)} In YAML: `type: {name}`.")
    yield section(
        "IbisRecords",
        IbisRecords,
        f"{_first(IbisRecords)} In Python, or as a template variable in YAML.",
    )
    for name, model in STORES.items():
        yield section(model.__name__, model, f"{_first(model)} In YAML: `type: {name}`.")
    for name, model in DESTINATIONS.items():
        yield section(model.__name__, model, f"{_first(model)} In YAML: `type: {name}`.")
    yield section("Route", Route, _first(Route) + " One of `routes`.")
    yield section("Monitoring", Monitoring, _first(Monitoring))
    yield section("Warehouse", Warehouse, _first(Warehouse))
    yield section("Timing", Timing, _first(Timing))
    yield section("Thresholds", Thresholds, _first(Thresholds))
    for name, field in Thresholds.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            kind = field.annotation
            yield section(kind.__name__, kind, f"{_first(kind)} In YAML: `thresholds: {{{name}: {{...}}}}`.")


def section(title: str, model: type[BaseModel], about: str) -> str:
    """Return the heading, the sentence and the table of one model."""
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(
        [f"## {title}\n", f"{about}\n", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _row(name: str, field: FieldInfo) -> str:
    meaning = field.description or _first(field.annotation)  # a model describes itself
    cells = (f"`{name}`", words(field.annotation), _default(field), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), [], {}):
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    if isinstance(value, timedelta):
        minutes = round(value.total_seconds() / 60)
        return (
            f"{minutes // 1440}d"
            if minutes % 1440 == 0
            else f"{minutes // 60}h"
            if minutes % 60 == 0
            else f"{minutes}m"
        )
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_written, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def words(annotation: Any) -> str:
    """Return a type as a person would say it."""
    if annotation in WORDS:
        return WORDS[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kinds = next((note for note in args[1:] if isinstance(note, Kinds)), None)
        return (
            words(args[0]) if kinds is None or kinds.text else " or ".join(map(words, kinds.classes.values()))
        )
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(word for word in map(words, args) if word))
    if origin in (tuple, list, Sequence):
        return f"list of {words(args[0])}"
    if origin in (dict, Mapping):
        return f"{{{words(args[0])}: {words(args[1])}}}"
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def _first(model: Any) -> str:
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    main()
