"""The digest: one message after each audit, also when all flags pass. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from exd_dagster.alerts.messages import faults, words
from exd_dagster.alerts.messages.text import clip_name
from exd_dagster.alerts.model import AlertState, Channel, CheckState, OutboxEntry
from exd_dagster.alerts.policy.decisions import Decision, active_decisions, in_words
from exd_dagster.alerts.policy.incidents import AlertEvent, data_through
from exd_dagster.alerts.policy.ledger import known_incidents, ledger_rows, sentences
from exd_dagster.alerts.policy.routes import entry_id
from exd_dagster.config import FlagId

_LISTED = 25
_A_DAY = timedelta(days=1)
Lines = tuple[tuple[str, ...], ...]


def is_due(state: AlertState, found: Sequence[CheckState]) -> bool:
    """True once per day of data: when the newest audited hour lies in a later day than the last digest's."""
    through = data_through(found)
    if through is None:
        return False
    return state.digest_through is None or through.date() > state.digest_through.date()


def headline(found: Sequence[CheckState]) -> str:
    """Return the digest in one line; `not_checked` and `insufficient` are never counted as passing."""
    through = data_through(found)
    flags = {flag for check in found for flag in check.flag.members or (check.flag,)}
    failing = {flag for check in found if check.pages for flag in check.flag.members or (check.flag,)}
    observed = {check.flag for check in found if check.would_block and not check.pages}
    unchecked = {check.flag for check in found if check.verdict == "not_checked"}
    early = {check.flag for check in found if check.verdict == "insufficient"}
    flags_said = words.count(len(flags), "flag")
    said = [f"{len(failing)} of {flags_said} failing" if failing else f"No failure in {flags_said}"]
    said += [f"{len(observed)} would have blocked"] if observed else []
    said += [f"{len(unchecked)} not checked"] if unchecked else []
    said += [f"{len(early)} too early"] if early else []
    return ", ".join(said) + (f" (data to {words.utc(through)})" if through else "")


def lines(
    state: AlertState, found: Sequence[CheckState], decisions: Sequence[Decision], now: datetime
) -> Lines:
    """Return the contents of the digest: heading, then one line per flag.

    Args:
        state: for the age of open incidents.
        found: the latest state of every monitored check.
        decisions: every decision people recorded.
        now: clock of the tick (UTC).
    """
    failing = [check for check in found if check.verdict == "fail"]
    errors = [check for check in failing if check.pages]
    observed = [check for check in failing if check.would_block and not check.pages]
    warnings = [check for check in failing if not check.would_block and not check.pages]
    new = {name for name, inc in state.incidents.items() if inc.notified_at is None or inc.notified_at == now}
    down = [f"{words.count(len(state.outage), 'flag')} lost traffic together; check the log first"]
    groups = (
        ("Source outage", down if state.outage else []),
        ("Newly failing", _failures([c for c in errors if str(c.flag) in new], state, decisions, now)),
        ("Still failing", _failures([c for c in errors if str(c.flag) not in new], state, decisions, now)),
        ("Would have blocked", _failures(observed, state, decisions, now)),
        ("Warnings", _failures(warnings, state, decisions, now)),
        ("No longer monitored", _left(state, now)),
        ("Learned this month", _learned(state, decisions, now)),
        ("Not checked", _reasons([c for c in found if c.verdict == "not_checked"])),
        ("Too little data yet", _reasons([c for c in found if c.verdict == "insufficient"])),
    )
    listed = tuple((heading, *words.cut(entries, _LISTED)) for heading, entries in groups if entries)
    return listed or (
        ("No failures", f"Every check of {words.count(len({c.flag for c in found}), 'flag')} passes."),
    )


def _by_flag(checks: Iterable[CheckState]) -> Mapping[FlagId, list[CheckState]]:
    grouped: dict[FlagId, list[CheckState]] = {}
    for check in sorted(checks, key=lambda check: (check.flag, check.check)):
        grouped.setdefault(check.flag, []).append(check)
    return grouped


def _failures(
    checks: Iterable[CheckState], state: AlertState, decisions: Sequence[Decision], now: datetime
) -> list[str]:
    entries = []
    for flag, members in _by_flag(checks).items():
        parts = [f"{clip_name(str(flag))}: {', '.join(check.check for check in members)}"]
        parts += list(dict.fromkeys(_of_segment(check) for check in members if _of_segment(check)))
        since = [at for check in members if (at := check.instant("bad_from"))]
        parts += [f"since {words.utc(min(since))}"] if since else []
        parts += [f"blocks nothing in mode {members[0].mode}"] if members[0].would_block else []
        if all(check.state == "contained" for check in members):
            usable = min((at for c in members if (at := c.instant("usable_until"))), default=None)
            parts.append("contained" + (f", usable until {words.utc(usable)}" if usable else ""))
        incident = state.incidents.get(str(flag))
        if incident and incident.notified_at is not None and incident.notified_at < now:
            parts.append(f"open for {words.duration(now - incident.opened_at)}")
        parts += [f"owner {', '.join(members[0].owners)}"] if members[0].owners else []
        parts += [in_words(decision) for decision in active_decisions(decisions, flag, now)]
        entries.append("; ".join(parts))
    return entries


def _of_segment(check: CheckState) -> str:
    """Return what a segment has lost, "" where the failure is not of a segment."""
    of_segment = faults.fault(check.check, check.facts) in ("segment", "segment_traffic")
    return faults.key_fact(check.check, check.facts) if of_segment else ""


def _learned(state: AlertState, decisions: Sequence[Decision], now: datetime) -> list[str]:
    """Return what the incidents were that ended in this calendar month (UTC), or were answered while open."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = ledger_rows(known_incidents([state]), decisions)
    over = [row for row in rows if row.resolved_at or row.verdict]
    return sentences([row for row in over if (row.resolved_at or now) >= month])


def _left(state: AlertState, now: datetime) -> list[str]:
    """Return the flags that left within the last day while failing."""
    return [
        f"{clip_name(str(incident.flag))}: "
        f"{', '.join(c for c in incident.alerts if c not in incident.recovered)} was failing "
        f"when last checked; sent {words.utc(incident.unmonitored_at)}"
        for incident in state.unmonitored.values()
        if incident.unmonitored_at and now - incident.unmonitored_at < _A_DAY
    ]


def _reasons(checks: Iterable[CheckState]) -> list[str]:
    entries = []
    for flag, members in _by_flag(checks).items():
        said = dict.fromkeys(
            check.sentence or str(check.facts.get("reason") or "no result") for check in members
        )
        names = ", ".join(check.check for check in members)
        entries.append(f"{clip_name(str(flag))} ({names}): {' '.join(said)}")
    return entries


def digest_entries(
    note: str,
    listed: Lines,
    destinations: Mapping[str, Channel],
    digest_only: Sequence[AlertEvent],
    revision: int,
    now: datetime,
) -> list[OutboxEntry]:
    """Return one digest per destination.

    Args:
        note: its headline.
        listed: its lines.
        destinations: channel of each destination that receives it.
        digest_only: events reported by this digest only.
        revision: of the state the digest was made from.
        now: clock of the tick (UTC).
    """
    alerts = tuple(dict.fromkeys(alert.id for event in digest_only for alert in event.alerts))
    incidents = tuple(dict.fromkeys(event.incident for event in digest_only if event.incident))
    return [
        OutboxEntry(
            id=entry_id(name, "digest", (note, *alerts), revision),
            destination=name,
            channel=channel.name,
            reason="digest",
            alerts=alerts,
            incidents=incidents,
            note=note,
            lines=listed,
            created_at=now,
            next_attempt_at=now,
        )
        for name, channel in destinations.items()
    ]
