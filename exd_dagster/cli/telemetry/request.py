"""The arguments of a telemetry command, with its files read."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import duckdb

from exd_dagster.cli.sources import read_sources
from exd_dagster.cli.telemetry.window import Window
from exd_dagster.config import FlagAudit, Scalar, Thresholds, validate_split
from exd_dagster.config.reasons import EXCLUDED_REASONS
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.manifest.declared_split import MATCHED_REASONS, DeclaredSplit, declared_split
from exd_dagster.telemetry.manifest.model import CATCH_ALL, Manifest
from exd_dagster.telemetry.manifest.read import read_manifest
from exd_dagster.telemetry.manifest.thresholds import read_thresholds
from exd_dagster.telemetry.sources.duckdb import IbisRecords, Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question.

    Attributes:
        window: what is looked at.
        now: the clock (UTC).
        records: the log.
        source: it, as the caller named it.
        flag: flag key; None where every flag is meant.
        namespace: None: any.
        environment: None: any.
        manifest_version: count only records of this version; None: of any.
        declared: the split, from `--expected` or a manifest; without one it holds the reason.
        thresholds: the levels.
        count: units, or evaluations as exd counts.
        warnings: what was ignored while the files were read.
    """

    window: Window
    now: datetime
    records: Records
    source: tuple[str, ...]
    flag: str | None
    namespace: str | None
    environment: str | None
    declared: DeclaredSplit
    thresholds: Thresholds
    manifest_version: int | None = None
    count: str = "units"
    warnings: tuple[str, ...] = ()

    @property
    def engine(self) -> tuple[str, str]:
        """Name and version of what counts."""
        if not isinstance(self.records, IbisRecords):
            return "duckdb", duckdb.__version__
        return self.records.connection.name, str(self.records.connection.version)

    @property
    def scope(self) -> dict[str, str]:
        """Flag, namespace and environment, those that are named."""
        named = {"flag": self.flag, "namespace": self.namespace, "environment": self.environment}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def inputs(self) -> dict[str, object]:
        """The arguments that shape the answer, for the envelope."""
        given: dict[str, object] = {
            **self.scope,
            "manifest_version": self.manifest_version,
            "window": self.window.label,
        }
        if self.declared.split is not None:
            given["expected"] = dict(self.declared.split)
        return {name: value for name, value in given.items() if value is not None} | {"count": self.count}

    def audit(self, start: datetime | None = None) -> FlagAudit:
        """Return the flag as the audit counts it, from `start` or the window's own.

        Raises:
            ConfigError: when the declared split cannot be used.
        """
        include: dict[str, list[Scalar]] = {}
        if self.declared.matched_only:
            include["evaluation_reason"] = list(MATCHED_REASONS)
        if self.manifest_version is not None:
            include["manifest_version"] = [self.manifest_version]
        return FlagAudit(
            key=self.flag or "",
            namespace=self.namespace,
            environment=self.environment,
            split=None if self.declared.split is None else dict(self.declared.split),
            start=start or self.window.start,
            end=self.window.end,
            include=include,
            exclude_reasons=() if self.count == "evaluations" else EXCLUDED_REASONS,
        )


def read_request(
    *,
    window: Window,
    now: datetime,
    source: Sequence[str],
    column: Sequence[str],
    constant: Sequence[str],
    flag: str | None,
    namespace: str | None,
    environment: str | None,
    thresholds: str | None,
    engine: str,
    preset: str | None = None,
    unit: str | None = None,
    expected: str | None = None,
    manifest: str | None = None,
    **own: Any,
) -> Request:
    """Read sources, thresholds and the declared split.

    Raises:
        click.UsageError: when an option cannot be read.
        ConfigError: when a file or the declared split cannot be used.
        RecordsError: when no source can be read.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        levels = read_thresholds(thresholds)
    return Request(
        window=window,
        now=now,
        records=read_sources(source, column, constant, engine, preset, unit),
        source=tuple(source),
        flag=flag,
        namespace=namespace,
        environment=environment,
        declared=_declared(expected, manifest, flag, namespace, environment),
        thresholds=levels,
        warnings=tuple(str(warning.message) for warning in caught),
        **own,
    )


def _declared(
    expected: str | None,
    manifest: str | None,
    flag: str | None,
    namespace: str | None,
    environment: str | None,
) -> DeclaredSplit:
    if expected is not None:
        return DeclaredSplit(_parse_split(expected))
    if manifest is None and not Path("flags").is_dir():
        return DeclaredSplit(None, refusal="pass --expected 'control=.5,treatment=.5', or --manifest DIR")
    place = manifest or "."
    found = [
        one
        for one in read_manifest(place)
        if flag in one.flags and (namespace is None or one.namespace == namespace)
    ]
    if not found:
        known = [key for one in read_manifest(place) for key in one.flags]
        hint = did_you_mean(str(flag), known)
        raise ConfigError(f"manifest '{place}'", [f"flag '{flag}' is not in it.{hint}"])
    if len(found) > 1:
        names = ", ".join(one.namespace for one in found)
        raise click.UsageError(f"--namespace: flag '{flag}' is in several ({names}); name one.")
    return declared_split(found[0], str(flag), _environment(found[0], str(flag), environment))


def _environment(manifest: Manifest, flag: str, environment: str | None) -> str | None:
    """Without a name the catch-all applies, unless some environment has its own block."""
    own = [name for name in manifest.flags[flag].environments or {} if name != CATCH_ALL]
    if environment is None and own:
        raise click.UsageError(
            f"--environment: the split differs by environment; name one ({', '.join(own)})."
        )
    return environment


def _parse_split(text: str) -> Mapping[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, sign, share = part.rpartition("=")
        try:
            if not (sign and name.strip()):
                raise ValueError(f"'{part}' is not variant=share")
            shares[name.strip()] = float(share)
        except ValueError as error:
            raise click.UsageError(
                f"--expected '{text}': {error}; write for example 'control=.5,treatment=.5'."
            ) from None
    try:
        return validate_split(shares)
    except ValueError as error:
        raise click.UsageError(f"--expected: {error}.") from None
