"""The time window of a telemetry command: `[from, to)`, UTC."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import click

DEFAULT_SINCE = "24h"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open `[start, end)` in UTC, and the text given for it."""

    start: datetime
    end: datetime
    label: str


def read_window(since: str | None, from_: str | None, to: str | None, now: datetime) -> Window:
    """Resolve `--since` or `--from/--to` at `now`; neither means the last 24 hours.

    Raises:
        click.UsageError: when both are given, an instant or duration cannot be read, or nothing lies between.
    """
    if since is not None and (from_ is not None or to is not None):
        raise click.UsageError("--since excludes --from and --to; give one or the other.")
    if from_ is None and to is not None:
        raise click.UsageError("--to needs --from; give both ends, or --since.")
    if from_ is None:
        since = since or DEFAULT_SINCE
        return Window(now - duration(since, "--since"), now, f"last {since}")
    start, end = _instant(from_, "--from"), now if to is None else _instant(to, "--to")
    if end <= start:
        raise click.UsageError(
            f"--from {start:%Y-%m-%dT%H:%M:%SZ} is not before --to {end:%Y-%m-%dT%H:%M:%SZ}."
        )
    return Window(start, end, f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC")


def duration(text: str, option: str) -> timedelta:
    """Read a duration such as 30m, 24h, 7d or 2w.

    Raises:
        click.UsageError: when `text` is not one, or is zero.
    """
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
    if not length:
        raise click.UsageError(f"{option} '{text}' is not a duration; write for example 30m, 24h, 7d or 2w.")
    return length


def _instant(text: str, option: str) -> datetime:
    from exd_dagster.config import to_utc

    try:
        return cast("datetime", to_utc(text))
    except ValueError as error:
        raise click.UsageError(
            f"{option} '{text}' is not an instant ({error}); write for example 2026-03-01T00:00:00Z."
        ) from None
