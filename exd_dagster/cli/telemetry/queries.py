"""The telemetry queries: a request in, a finding out. The verdicts are those of the Dagster checks."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.cli.telemetry.finding import Diagnostic, Finding, Severity, Table
from exd_dagster.cli.telemetry.overview import Row, variant_rows, version_rows, whereabouts
from exd_dagster.cli.telemetry.request import Request
from exd_dagster.cli.telemetry.scan import count_flag
from exd_dagster.errors import ConfigError
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks.version_skew import version_counts
from exd_dagster.stats.checks.version_skew import version_skew as judge_versions
from exd_dagster.stats.srm.srm import SrmVerdict, srm_test
from exd_dagster.stats.verdict import Verdict, plain
from exd_dagster.telemetry.records import from_ms

HISTORY = timedelta(weeks=6)
"""History read before the window of `traffic`, for the expectation."""

CAUSES = (
    "a cache or CDN serves one variant past the assignment",
    "a rule or bucket range changed mid-flight (compare --from before and after the change)",
    "SDKs on a stale manifest (look at telemetry version-skew)",
)
"""What exd's documentation names for T001."""

_SEVERITY: Mapping[str, Severity] = {"T001": "warning", "T002": "info", "T004": "warning"}
_RESULT = ("expected", "observed", "n", "chi_square", "p_value", "verdict", "threshold")


def srm(request: Request) -> Finding:
    """Chi-square of the window's units against the declared split, with exd's result fields."""
    flag = request.audit()
    split = _split(request)
    counted = count_flag(request, flag)
    bins = counted.bins
    counts = bins.evaluations if request.count == "evaluations" else bins.new_units
    observed = dict(zip(bins.variants, counts.sum(axis=0).tolist(), strict=True))
    levels = request.thresholds.srm
    verdict = srm_test(
        observed,
        split,
        significance_level=levels.significance_level,
        min_sample_size=levels.min_sample_size,
    )
    level = f"threshold p={levels.significance_level:g}"
    verdict = replace(verdict, sentence=verdict.sentence.replace(" units", f" {request.count}"))
    return _finding(
        request,
        query="telemetry.srm",
        result={name: plain(getattr(verdict, name)) for name in _RESULT} | {"expected": dict(split)},
        title=f"SRM check for '{request.flag}' ({request.window.label}, n={verdict.n:,}, {level})",
        table=_variants(verdict, split),
        verdict=_line(verdict, _srm_numbers(verdict)),
        diagnostics=_diagnostics(verdict, CAUSES if verdict.code == "T001" else ()),
        bins=bins,
        notes=(*counted.notes, *_count_notes(request, bins)),
    )


def _split(request: Request) -> Mapping[str, float]:
    if request.declared.split is None:
        raise ConfigError(f"the split of '{request.flag}'", [request.declared.refusal])
    return request.declared.split


def _variants(verdict: SrmVerdict, split: Mapping[str, float]) -> Table:
    seen = {**verdict.zero_share, **verdict.observed}
    rows: list[tuple[str | int | None, ...]] = [
        (name, _percent(share), seen.get(name, 0), _percent(verdict.shares.get(name)))
        for name, share in split.items()
    ]
    rows += [(name, "undeclared", count, None) for name, count in sorted(verdict.undeclared.items())]
    return Table(("variant", "expected", "observed", "observed_pct"), rows)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}%"


def _srm_numbers(verdict: SrmVerdict) -> str:
    if verdict.chi_square is None or verdict.p_value is None:
        return ""
    method = "" if verdict.method == "chi_square" else f" ({verdict.method})"
    return f"chi-square = {verdict.chi_square:,.1f}   {_p(verdict.p_value)}{method}"


def _p(p: float) -> str:
    return "p < 1e-10" if p < 1e-10 else f"p = {p:.4g}"


def _line(verdict: Verdict, numbers: str = "") -> str:
    """Return the numbers, or the sentence where no diagnostic has it, and the verdict in capitals."""
    words = numbers if verdict.failed or verdict.code or numbers else verdict.sentence
    return f"{words}   verdict: {verdict.verdict.upper()}".strip()


def _count_notes(request: Request, bins: FlagBins) -> list[str]:
    notes = []
    if request.count == "evaluations":
        notes.append(
            "counts are evaluations, as exd counts them; those of one unit are not independent, so this "
            "p-value is too small. --count units is the sound test."
        )
    versions = version_counts(bins)
    if len(versions) > 1 and request.declared.space is not None:
        notes.append(
            f"the window has records of manifest versions {', '.join(map(str, sorted(versions)))}, the split "
            "is of one manifest; if it changed between them, count one of them with --manifest-version."
        )
    excluded = {
        "without a unit": bins.fact_total("null_units"),
        "without a variant": bins.fact_total("null_variants"),
        "left out for their reason": bins.fact_total("excluded_reason"),
    }
    notes += [f"{count:,} evaluations {what} are not counted." for what, count in excluded.items() if count]
    return notes


def sequential(request: Request) -> Finding:
    """The anytime-valid test over the hours of the window."""
    flag = request.audit()
    _split(request)
    counted = count_flag(request, flag)
    verdict = audit_flag(flag, counted.bins, request.thresholds).sequential_srm
    rows = [
        (name, _percent(share), verdict.observed.get(name, 0)) for name, share in verdict.expected.items()
    ]
    return _finding(
        request,
        query="exd_dagster.sequential_srm",
        result=verdict.as_metadata(),
        title=f"Sequential SRM of '{request.flag}' ({request.window.label}, n={verdict.n:,}, "
        f"alpha={verdict.alpha:g})",
        table=Table(("variant", "expected", "observed"), rows),
        verdict=_line(verdict, f"anytime {_p(verdict.anytime_p_value)}"),
        diagnostics=_diagnostics(verdict, CAUSES if verdict.failed else ()),
        bins=counted.bins,
        notes=counted.notes,
    )


def traffic(request: Request) -> Finding:
    """The traffic test; alarms inside the window count, the weeks before it say what to expect."""
    flag = request.audit(start=request.window.start - HISTORY)
    counted = count_flag(request, flag, closed_only=True)
    bins = _from_first_unit(counted.bins)
    judged = (request.window.start, request.window.end)
    verdict = audit_flag(
        flag.model_copy(update={"start": bins.start}), bins, request.thresholds, judged=judged
    ).traffic_drop
    rows = [
        ("units", _whole(verdict.latest_volume)),
        ("expected units", _whole(verdict.expected_volume)),
        ("hours in window", verdict.window),
    ]
    return _finding(
        request,
        query="exd_dagster.traffic_drop",
        result=verdict.as_metadata(),
        title=f"Traffic of '{request.flag}' ({request.window.label})",
        table=Table(("", "value"), rows),
        verdict=_line(verdict, "" if verdict.p_value is None else _p(verdict.p_value)),
        diagnostics=_diagnostics(verdict),
        bins=bins,
        notes=(*counted.notes, f"{len(bins):,} hours of history were read."),
    )


def _from_first_unit(bins: FlagBins) -> FlagBins:
    """Leave out the hours before the flag had any unit: they are no traffic to expect again."""
    busy = bins.units.any(axis=1)
    first = int(busy.argmax()) if busy.any() else 0
    return bins.between(bins.start + HOUR * first, bins.audited_through)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def summary(request: Request) -> Finding:
    """Evaluations and units by flag and variant."""
    rows, notes = variant_rows(request)
    flags: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        flags.setdefault((row.flag, row.namespace, row.environment), []).append(row)
    cells = [
        (_place(row), row.variant or "(none)", row.evaluations, row.units, _share(row, flags)) for row in rows
    ]
    return _finding(
        request,
        query="telemetry.summary",
        result={"flags": [_flag_summary(members) for members in flags.values()]},
        title=f"Evaluations of {len(flags)} flags ({request.window.label})",
        table=Table(("flag", "variant", "evaluations", "units", "unit_pct"), cells),
        record_count=sum(row.evaluations for row in rows),
        notes=notes,
    )


def _place(row: Row) -> str:
    return "/".join(part for part in (row.namespace, row.environment, row.flag) if part)


def _share(row: Row, flags: Mapping[tuple[str, str, str], list[Row]]) -> str | None:
    total = sum(other.units for other in flags[row.flag, row.namespace, row.environment])
    return _percent(row.units / total) if total else None


def _flag_summary(rows: list[Row]) -> dict[str, Any]:
    return {
        "flag_key": rows[0].flag,
        "namespace": rows[0].namespace,
        "environment": rows[0].environment,
        "evaluations": sum(row.evaluations for row in rows),
        "without_unit": sum(row.without_unit for row in rows),
        "first_evaluated_at": plain(from_ms(min(row.first_ms for row in rows))),
        "last_evaluated_at": plain(from_ms(max(row.last_ms for row in rows))),
        "variants": [
            {"variant_key": row.variant, "evaluations": row.evaluations, "units": row.units} for row in rows
        ],
    }


def version_skew(request: Request) -> Finding:
    """Evaluations by manifest version, against the allowed lag of clients."""
    versions, notes = version_rows(request)
    verdict = judge_versions(versions, request.thresholds)
    total = sum(versions.values())
    shares = [(version, count, 100 * count / total) for version, count in versions.items()]
    return _finding(
        request,
        query="telemetry.version-skew",
        result={
            "versions": [{"manifest_version": v, "count": n, "percent": percent} for v, n, percent in shares]
        },
        title=f"Manifest versions{f' of {request.flag!r}' if request.flag else ''} ({request.window.label}, "
        f"n={total:,})",
        table=Table(
            ("manifest_version", "count", "percent"),
            [(str(version), count, f"{percent:.1f}%") for version, count, percent in shares],
        ),
        verdict=_line(verdict),
        diagnostics=_diagnostics(verdict),
        record_count=total,
        versions=tuple(sorted(versions)),
        notes=notes,
    )


def _diagnostics(verdict: Verdict, causes: tuple[str, ...] = ()) -> tuple[Diagnostic, ...]:
    """Return exd's code where the verdict has one; a failure without a code is a finding all the same."""
    if verdict.code is None and not verdict.failed:
        return ()
    severity: Severity = "error" if verdict.severity == "ERROR" else "warning"
    return (Diagnostic(verdict.code, _SEVERITY.get(verdict.code or "", severity), verdict.sentence, causes),)


def _finding(
    request: Request,
    *,
    bins: FlagBins | None = None,
    record_count: int = 0,
    versions: tuple[int, ...] = (),
    notes: tuple[str, ...] = (),
    **parts: Any,
) -> Finding:
    if bins is not None:
        record_count = int(bins.evaluations.sum())
        versions = tuple(sorted(version_counts(bins)))
    if not record_count:
        notes = (*notes, f"no record is in the window. {whereabouts(request)}")
    return Finding(
        inputs=request.inputs,
        window=request.window,
        source=request.source,
        engine=request.engine,
        record_count=record_count,
        thresholds_source=request.thresholds.source,
        manifest_versions=versions,
        notes=(*request.warnings, *notes),
        **parts,
    )


QUERIES: Mapping[str, Callable[[Request], Finding]] = {
    "srm": srm,
    "sequential": sequential,
    "traffic": traffic,
    "summary": summary,
    "version_skew": version_skew,
}
"""Every query, by the name of its command."""
