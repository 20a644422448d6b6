"""What Dagster's catalogue shows of our assets: schemas, kinds, tags, groups, and where they are declared."""

import re
import sys
import sysconfig
import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias

import dagster as dg

from exd_dagster.bins.report import BuildReport
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.stats.words import instant
from exd_dagster.telemetry.records import MEANINGS, REQUIRED
from exd_dagster.telemetry.sources.duckdb import (
    FileRecords,
    IbisRecords,
    ParquetRecords,
    Records,
    TableRecords,
)
from exd_dagster.telemetry.sources.lakehouse import DeltaRecords, IcebergRecords

GroupBy: TypeAlias = Literal["owner", "namespace", "environment"]

_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_OURS = str(Path(__file__).parents[1])
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _schema(**columns: tuple[str, str]) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(n, kind, description=text) for n, (kind, text) in columns.items()])


_FLAG = {
    "namespace": ("varchar", "Namespace of the flag; empty where it has none."),
    "environment": ("varchar", "Environment of the flag; empty where it has none."),
    "flag_key": ("varchar", "Key of the flag, as in the records."),
}

BINS_SCHEMA = _schema(
    **_FLAG,
    hour=("timestamptz", "First instant of the hour (UTC)."),
    variant=("varchar", "Variant that was served."),
    new_units=("bigint", "Units whose first exposure lies in this hour."),
    units=("bigint", "Distinct units that were exposed in this hour."),
    evaluations=("bigint", "Exposures in this hour."),
)
"""The view `flag_bins` of the store, which holds the closed hours of every flag."""

TRUST_SCHEMA = _schema(
    **_FLAG,
    iteration_start=("timestamptz", "When the iteration began (UTC)."),
    trusted=("boolean", "False: what builds on the flag is withheld; null: it could not be checked."),
    sentence=("varchar", "The answer in one sentence."),
    mode=("varchar", "What a failure does: observe, warn or block."),
    failing=("varchar[]", "Checks that fail, blocking or not."),
    since=("timestamptz", "Start of the current standing (UTC)."),
    usable_until=("timestamptz", "End of the last hour before a fault (UTC)."),
    audited_through=("timestamptz", "End of the last hour covered (UTC)."),
    contained=("boolean", "A fault is over, and its hours are still in the window."),
    waived_by=("varchar", "Who lets reports run although a check fails."),
    waived_until=("timestamptz", "When that ends (UTC)."),
    discovery=("boolean", "Among the flags that e-BH discovers in the fleet."),
    owners=("varchar[]", "Owners of the flag."),
    run_id=("varchar", "The Dagster run that gave the answer."),
    log_e_value=("double", "ln E of the sequential test; null where it was not computed."),
    picture=("varchar", "SVG of the failing check; empty for none."),
    usable_without=("varchar[]", "Segments to leave out, as conditions."),
    collides_with=("varchar[]", "Flags whose assignment its own depends on, as with a shared salt."),
    off_reports=("varchar[]", "Assets of reports whose units are not those exposed (reconcile)."),
)
"""The table `flag_trust` of the store."""

LEDGER_SCHEMA = _schema(
    incident=("varchar", "Id of the incident."),
    check_name=("varchar", "The check that failed."),
    **_FLAG,
    opened_at=("timestamptz", "Evaluation of the check that first failed (UTC)."),
    bad_from=("timestamptz", "Begin of the fault in the data (UTC)."),
    audited_through=("timestamptz", "End of the last hour judged when it last failed (UTC)."),
    delivered_at=("timestamptz", "When a message about it was first delivered (UTC)."),
    acknowledged_at=("timestamptz", "When a person first answered in any way (UTC)."),
    resolved_at=("timestamptz", "When the incident was closed (UTC); null while it is open."),
    blocked=("boolean", "The check blocked reports."),
    verdict=("varchar", "What a person said that it was: real, false, expected; empty while nobody did."),
    cause=("varchar", "In that person's words."),
    answered_by=("varchar", "Who said so."),
    note=("varchar", "Why the incident was closed."),
)
"""The table `incident_ledger` of the store."""


def table_metadata(table: str, schema: dg.TableSchema) -> dict[str, Any]:
    """Return what the catalogue shows of a table before it has been materialized.

    Args:
        table: its name in the store.
        schema: its columns.
    """
    return {
        "dagster/column_schema": schema,
        "dagster/table_name": table,
        "dagster/storage_kind": "duckdb",
        **declared_at(),
    }


def declared_at() -> dict[str, Any]:
    """Return the code reference of the file and line of the project that is building definitions now.

    It is empty where no project's file is, as for a YAML component, whose file Dagster adds itself.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.endswith(".py") and not file.startswith((_OURS, *_INSTALLED)):
            return {"dagster/code_references": _reference(file, frame.f_lineno)}
        frame = frame.f_back
    return {}


def _reference(file: str, line: int) -> dg.CodeReferencesMetadataValue:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of no use to a project, which cannot act on it
        here = dg.LocalFileCodeReference(
            file_path=str(Path(file).absolute()), line_number=line, label="declared here"
        )
        return dg.CodeReferencesMetadataValue(code_references=[here])


def records_metadata(records: Records) -> dict[str, Any]:
    """Return what the catalogue shows of the records: where they are, which columns are read as what.

    Args:
        records: where the evaluation records are.
    """
    mapped, found = records.column_map, dict[str, dg.TableColumn]()
    for name, (kind, text) in MEANINGS.items():
        for path in () if name in mapped.constants else mapped.paths(name):
            said = text if path == name else f"{text} Read as {name}."
            if path in found:
                said = f"{found[path].description} {said}"
            needed = dg.TableColumnConstraints(nullable=name not in REQUIRED)
            found[path] = dg.TableColumn(path, kind, description=said, constraints=needed)
    stored = isinstance(records, (TableRecords, IbisRecords, IcebergRecords))
    return {
        "dagster/column_schema": dg.TableSchema(list(found.values())),
        "dagster/table_name" if stored else "dagster/uri": records.place,
        **declared_at(),
    }


def seen_of_records(report: BuildReport) -> dict[str, Any]:
    """Return what an audit saw of the records, for an observation of their asset."""
    return {
        "dagster/row_count": report.records,
        "data_through": record_time(report.watermark),
        "audited_through": record_time(report.closed_through),
        "undelivered_hours": len(report.undelivered),
        "quarantined": dg.MetadataValue.json(dict(report.quarantined)),
        "unreadable": dg.MetadataValue.json([str(each) for each in report.unreadable]),
        "columns_absent": ", ".join(report.absent) or "none",
    }


def record_time(at: datetime | None) -> str:
    """Return an instant of a log as text; None: it has no record yet."""
    return instant(at) if at else "no record yet"


def records_kinds(records: Records) -> set[str]:
    """Return the kinds of the asset that stands for the records."""
    known = {
        ParquetRecords: "parquet",
        FileRecords: "file",
        TableRecords: "duckdb",
        DeltaRecords: "deltalake",
        IcebergRecords: "iceberg",
    }
    return {kind for source, kind in known.items() if isinstance(records, source)} or {"table"}


def flag_names(flag: FlagId) -> dict[str, str]:
    """Return the metadata that names the owner of an asset or a check."""
    return {"flag": flag.key, "namespace": flag.namespace, "environment": flag.environment}


def flag_of(metadata: Mapping[str, Any]) -> FlagId:
    """Return whose an asset or a check is, from its metadata."""
    return FlagId(metadata["namespace"], metadata["environment"], metadata["flag"])


def flag_tags(flag: FlagAudit) -> Mapping[str, str]:
    """Return the tags by which the catalogue finds a flag; a name that is no tag is left out."""
    tags = {
        "exd/mode": flag.mode,
        "exd/namespace": flag.namespace or "",
        "exd/environment": flag.environment or "",
    }
    return {name: value for name, value in tags.items() if _TAG_VALUE.fullmatch(value)}


def group_of(flag: FlagAudit, group_name: str, by: GroupBy | None) -> str:
    """Return the asset group of a flag: one for all, or one for each owner, namespace or environment."""
    values = {
        "owner": next(iter(flag.owners), "").removeprefix("team:").partition("@")[0],
        "namespace": flag.namespace or "",
        "environment": flag.environment or "",
    }
    part = re.sub(r"[^A-Za-z0-9_]+", "_", values[by]).strip("_") if by else ""
    return f"{group_name}_{part}" if part else group_name
