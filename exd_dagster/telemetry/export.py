"""Is a log the export that its preset reads? A look at some of its rows, before anything is counted."""

from collections.abc import Mapping, Sequence

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.columns import ColumnMap, either
from exd_dagster.telemetry.paths import values_at
from exd_dagster.telemetry.preset import Preset, Row, holds, likeliest, read_preset, recognise
from exd_dagster.telemetry.records import REQUIRED

_ENOUGH = 3
"""So many exposures without a field say that the field is not written any more."""


def check_export(place: str, columns: ColumnMap, sample: Mapping[str, Sequence[Row]]) -> None:
    """Refuse a log that is another export than its preset reads, one that changed, and a mix of two.

    Args:
        place: what to call the log.
        columns: how it is read, by a preset.
        sample: some of its rows, by file.

    Raises:
        RecordsError: saying which field is missing, and which preset fits better.
    """
    preset = read_preset(columns.preset)
    rows = [row for some in sample.values() for row in some]
    faults = [fault for file, some in sample.items() if (fault := _lacking(file, columns, some))]
    own = [row for row in rows if _is_exposure(row, columns) and preset.fits(row)]
    others = [row for row in rows if not preset.fits(row) and not _is_alike(row, columns)]
    better = [match for match in likeliest(recognise(others)) if match.preset != preset.name]
    if own and better:
        other = read_preset(better[0].preset)
        files = [file for file, some in sample.items() if any(map(other.fits, some))]
        where = f" {', '.join(files[:_ENOUGH])}" if files != [place] else ""
        faults = [
            f"it is a mix of two exports: {better[0].rows} of {len(rows)} rows looked at{where} have no "
            f"{_first_sign(preset, others)} and {better[0]}. Give each export a records object of its own"
        ]
    elif better and (faults or not own):
        missing = faults or [f"no row has {_first_sign(preset, rows)}"]
        fits = " or ".join(f"preset='{match.preset}'" for match in better)
        faults = [*missing, f"it {'; or '.join(map(str, better))}. Give {fits}"]
    elif faults:
        source = f"preset '{preset.name}' was made from {preset.page} as of {preset.read}"
        faults = [
            *faults,
            f"{source}; if the export changed, map the field with columns= on top of the preset",
        ]
    if faults:
        raise RecordsError("\n  - ".join([f"{place} is not what preset '{preset.name}' reads:", *faults]))


def _is_exposure(row: Row, columns: ColumnMap) -> bool:
    return all(
        any(holds(row, path, values) for path in columns.paths(name))
        for name, values in columns.where.items()
    )


def _is_alike(row: Row, columns: ColumnMap) -> bool:
    """Return True for a row with the time and the unit of this export: another event of it."""
    needed = (name for name in ("timestamp", "unit_id_hash") if name not in columns.constants)
    return all(any(values_at(row, path) for path in columns.paths(name)) for name in needed)


def _lacking(file: str, columns: ColumnMap, rows: Sequence[Row]) -> str:
    """Return which required field no exposure of a file has; "" where none is missing."""
    exposures = [row for row in rows if _is_exposure(row, columns)]
    if not exposures and columns.where:
        unknown = [
            either(columns.paths(name))
            for name, values in columns.where.items()
            if "" not in values.split("|")
            and not any(values_at(row, path) for row in rows for path in columns.paths(name))
        ]
        return f"{file}: no row has '{unknown[0]}', which identifies exposures" if unknown and rows else ""
    for name in REQUIRED:
        own = columns.paths(name)
        if name in columns.constants or len(exposures) < _ENOUGH:
            continue
        if not any(values_at(row, path) for row in exposures for path in own):
            return f"{file}: no row has '{either(own)}' for {name}"
    return ""


def _first_sign(preset: Preset, rows: Sequence[Row]) -> str:
    """Return the first sign of a preset that no row has, in words."""
    required = [*preset.signature.all.items(), *preset.signature.any.items()]
    missing = [(path, v) for path, v in required if not any(holds(row, path, v) for row in rows)]
    path, values = (missing or required)[0]
    return f"'{path}'" if values in ("*", "?", "") else f"'{path}' = {values.replace('|', ' or ')}"
