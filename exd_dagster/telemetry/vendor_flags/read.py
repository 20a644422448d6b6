"""A vendor's export as the audit reads it: one `FlagAudit` per flag, its split taken from the definition."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from exd_dagster.config import FlagAudit, Mode, Phase
from exd_dagster.config.arguments import checked_arguments
from exd_dagster.config.instants import InstantLike, instant_of
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.vendor_flags.files import Copy, Source, copies_of
from exd_dagster.telemetry.vendor_flags.model import (
    FORMS,
    Arm,
    Document,
    Form,
    Stage,
    Underivable,
    VendorFlag,
)
from exd_dagster.telemetry.vendor_flags.registry import reader_of

_log = logging.getLogger(__name__)

_PAGES = ("hasMore", "next", "nextPage")
"""Keys of a response that is not the last page."""


@checked_arguments("vendor", "variants", "start", "end")
def flags_from(
    source: Source,
    *,
    vendor: str | None = None,
    environment: str | None = None,
    keys: str | Sequence[str] = "*",
    variants: Form | None = None,
    start: InstantLike | None = None,
    end: InstantLike | None = None,
    namespace: str | None = None,
    mode: Mode = "block",
) -> list[FlagAudit]:
    """Return one audit per flag that a vendor's export declares, in order of the key.

    A flag whose split cannot be derived is returned without one: its SRM checks are skipped, its traffic is
    still tested, and a warning gives the reason and what to declare. A draft, an archived flag and one that
    stopped before `start` are excluded, with a log line.

    Args:
        source: a file that the vendor exports or its API returns; a folder of its parts; or copies kept over
            time, as a folder whose names hold the instant of each (UTC) or as {instant: path}. A changed
            split is then a phase, a changed salt, seed, hash version or unit a phase whose units were
            assigned afresh. A history inside the export (GrowthBook's phases, LaunchDarkly's audit log,
            PostHog's activity log) is read likewise.
        vendor: growthbook, launchdarkly, unleash, posthog, statsig, eppo, optimizely, split or flagd; None:
            recognised from the content.
        environment: name of the environment read, if the export has several.
        keys: glob, or globs, of the flags wanted.
        variants: what the records write for a variant: key, index, value or id; None: what the vendor's own
            exposures write, as its preset reads them. With id, Optimizely's experiments go by their ids too.
        start: first instant counted (UTC). By default when the first copy was made. One file without a date
            counts from the flag's last change according to the vendor, since it does not contain what
            applied before.
        end: first instant no longer counted (UTC).
        namespace: of every flag.
        mode: what a failure does.

    Raises:
        ConfigError: when the export cannot be read, its form is not known, or the environment is not in it.
    """
    copies = copies_of(source)
    return flags_of(
        copies,
        vendor=vendor,
        environment=environment,
        keys=keys,
        variants=variants,
        start=start,
        end=end,
        namespace=namespace,
        mode=mode,
    )


def flags_of(
    copies: Sequence[Copy],
    *,
    vendor: str | None = None,
    environment: str | None = None,
    keys: str | Sequence[str] = "*",
    variants: Form | None = None,
    start: InstantLike | None = None,
    end: InstantLike | None = None,
    namespace: str | None = None,
    mode: Mode = "block",
) -> list[FlagAudit]:
    """Return the audits of copies that were read already; else as `flags_from`.

    Raises:
        ConfigError: when a copy is of no known form, or the environment is not in it.
    """
    if variants is not None and variants not in FORMS:
        raise ConfigError(
            "flags_from", [f"variants: '{variants}' is not known.{did_you_mean(variants, FORMS)}"]
        )
    floor = None if start is None else instant_of(start, "flags_from", "start")
    histories: dict[str, list[tuple[Copy, VendorFlag | None]]] = {}
    forms: dict[str, Form] = {}
    globs = [keys] if isinstance(keys, str) else list(keys)
    for copy in copies:
        found = declarations(copy, vendor, environment, variants, forms)
        for key in {**histories, **found}:
            if any(fnmatchcase(key, glob) for glob in globs):
                histories.setdefault(key, []).append((copy, found.get(key)))
    last = None if end is None else instant_of(end, "flags_from", "end")
    audits = [_Audit(key, history, floor, forms[key]) for key, history in sorted(histories.items())]
    made = [(audit, audit.flag(last, namespace, environment, mode)) for audit in audits]
    _warn_of_one_hash([audit for audit, flag in made if flag is not None])
    return [flag for _, flag in made if flag is not None]


def _warn_of_one_hash(audits: Sequence["_Audit"]) -> None:
    """Log which flags hash their units alike: their assignments are not independent of one another."""
    alike: dict[tuple[str, ...], dict[str, str]] = {}
    for audit in audits:
        alike.setdefault(audit.space, {}).setdefault(audit.latest.id or audit.latest.key, audit.latest.key)
    for space, keys in alike.items():
        if space and len(keys) > 1:
            _log.warning(
                "flags %s are assigned by one hash (%s): their variants follow from one another",
                ", ".join(keys.values()), ", ".join(space),
            )  # fmt: skip


def declarations(
    copy: Copy,
    vendor: str | None,
    environment: str | None,
    variants: Form | None = None,
    forms: dict[str, Form] | None = None,
) -> dict[str, VendorFlag]:
    """Return the flags of one copy by key, and note the form of their arms in `forms`.

    Raises:
        ConfigError: when the copy is of no known form, or the environment is not in it.
    """
    flags: dict[str, VendorFlag] = {}
    more = [key for document in copy.documents.values() if (key := _goes_on(document))]
    if len(more) == len(copy.documents):
        _log.warning(
            "the flags of %s are one page of several (%s): fetch the others into one folder",
            next(iter(copy.documents)), more[0],
        )  # fmt: skip
    for name, document in copy.documents.items():
        reader = reader_of(document, vendor, f"flags '{name}'")
        more = [key for key in _PAGES if isinstance(document, Mapping) and document.get(key)]
        if more:
            _log.warning(
                "%s is one page of several (%s): fetch the others into the same folder", name, more[0]
            )
        try:
            found = reader.read(document, environment)
        except Underivable as refused:
            raise ConfigError(f"flags '{name}'", [str(refused)]) from None
        for flag in found:
            key = flag.id if variants == "id" and flag.id else flag.key
            flags[key] = flag
            if forms is not None:
                forms[key] = variants or reader.form
    return flags


def _goes_on(document: Document) -> str:
    """Return the key by which an answer says that it is not the last page; "" for the last one."""
    return next((key for key in _PAGES if isinstance(document, Mapping) and document.get(key)), "")


class _Audit:
    """One flag, with its definition in every copy."""

    def __init__(
        self,
        key: str,
        history: Sequence[tuple[Copy, VendorFlag | None]],
        floor: datetime | None,
        form: Form,
    ) -> None:
        self._key, self._history, self._floor, self._form = key, history, floor, form
        self.latest = next(flag for _, flag in reversed(history) if flag is not None)

    @property
    def space(self) -> tuple[str, ...]:
        """What assigns the units now; empty where every unit gets one variant or no split is known."""
        return self.latest.stages[-1].space

    def flag(
        self, end: datetime | None, namespace: str | None, environment: str | None, mode: Mode
    ) -> FlagAudit | None:
        """Return the audit; None, with a line in the log, where there is nothing to audit."""
        timeline, stopped = self._timeline()
        begin = self._floor or self._history[0][0].taken
        if not timeline or (stopped is not None and stopped <= begin):
            _log.warning("flag %s is %s and left out", self._key, self.latest.status)
            return None
        timeline = _from(timeline, self._floor)
        refusal = next((stage.refusal for _, stage in timeline if stage.refusal), "")
        for note in self.latest.notes:
            _log.warning("flag %s: %s", self._key, note)
        if refusal:
            _log.warning("flag %s: no split declared: %s", self._key, refusal)
        ends = [instant for instant in (stopped, end) if instant is not None]
        first = timeline[0][1]
        return FlagAudit(
            key=self._key,
            namespace=namespace,
            environment=environment,
            start=timeline[0][0],
            end=min(ends) if ends else None,
            split=None if refusal else self._split(first),
            coverage=1.0 if refusal else first.coverage,
            phases=() if refusal else self._phases(timeline),
            exclude={} if refusal else _excluded(timeline),
            ignore_variants=() if refusal else self._ignored(timeline),
            owners=self.latest.owners,
            tags=_tags(self.latest.tags),
            mode=mode,
        )

    def _timeline(self) -> tuple[list[tuple[datetime, Stage]], datetime | None]:
        """Return each stage with its first instant, and when the flag stopped (None: it runs)."""
        last_copy, last = self._history[-1]
        if last is not None and any(stage.since is not None for stage in last.stages):
            dated = [(stage.since or last_copy.taken, stage) for stage in last.stages]
            return ([], None) if last.status == "draft" else (dated, last.end or self._stop())
        timeline: list[tuple[datetime, Stage]] = []
        for copy, flag in self._history:
            if flag is not None and (flag.status == "running" or flag.end is not None):
                timeline.append((self._since(copy, flag), flag.stages[-1]))
        return timeline, last.end if last is not None and last.end else self._stop()

    def _stop(self) -> datetime | None:
        """Return when the first copy was made since which the flag has not run."""
        stop = None
        for copy, flag in reversed(self._history):
            if flag is not None and flag.status == "running":
                break
            stop = copy.taken
        return stop

    def _since(self, copy: Copy, flag: VendorFlag) -> datetime:
        """Return since when the contents of a copy apply."""
        if copy.dated:
            return copy.taken
        if flag.changed is not None:
            if self._floor is not None and flag.changed > self._floor:
                _log.warning(
                    "flag %s was changed on %s, after start, and is counted from then on; to count from "
                    "start, pass the copies of before, or {start: path} where the split did not change",
                    self._key, f"{flag.changed:%Y-%m-%d %H:%M} UTC",
                )  # fmt: skip
            return flag.changed
        if self._floor is not None:
            return self._floor
        _log.warning(
            "flag %s: the export has no effective time: it is counted from %s, when the file was "
            "last modified here; pass start='%s' so that a fresh checkout counts the same",
            self._key, f"{copy.taken:%Y-%m-%d %H:%M} UTC", f"{copy.taken:%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip
        return copy.taken

    def _split(self, stage: Stage) -> dict[str, float]:
        split: dict[str, float] = {}
        for arm, share in stage.shares:
            name = name_of(arm, self._form)
            split[name] = split.get(name, 0.0) + share
        return split

    def _ignored(self, timeline: Sequence[tuple[datetime, Stage]]) -> tuple[str, ...]:
        """Return the variants that any stage ignores and none declares."""
        declared = {name for _, stage in timeline for name in self._split(stage)}
        ignored = dict.fromkeys(name for _, stage in timeline for name in stage.ignore)
        return tuple(name for name in ignored if name not in declared)

    def _phases(self, timeline: Sequence[tuple[datetime, Stage]]) -> tuple[Phase, ...]:
        """Return a phase for each stage that changed the split, the coverage, or assigned units afresh."""
        phases = []
        for (_, before), (instant, after) in pairwise(timeline):
            afresh = before.space != after.space
            if afresh or (before.shares, before.coverage) != (after.shares, after.coverage):
                phases.append(
                    Phase(
                        start=instant,
                        split=self._split(after),
                        rerandomized=afresh,
                        coverage=after.coverage,
                    )
                )
        return tuple(phases)


def name_of(arm: Arm, form: Form) -> str:
    """Return what records write for an arm; its key where it has no name of that form."""
    if form == "index" and arm.index is not None:
        return str(arm.index)
    if form == "id" and arm.id:
        return arm.id
    if form == "value" and arm.value is not None:
        return arm.value if isinstance(arm.value, str) else json.dumps(arm.value)
    return arm.key


def _from(timeline: Sequence[tuple[datetime, Stage]], floor: datetime | None) -> list[tuple[datetime, Stage]]:
    """Return the stages from `floor` on; the one in force then starts at `floor`."""
    if floor is None:
        return list(timeline)
    before = [(floor, stage) for instant, stage in timeline if instant <= floor]
    return before[-1:] + [(instant, stage) for instant, stage in timeline if instant > floor]


def _excluded(timeline: Sequence[tuple[datetime, Stage]]) -> dict[str, list[Any]]:
    """Return what any stage excludes."""
    excluded: dict[str, list[Any]] = {}
    for _, stage in timeline:
        for column, values in stage.exclude.items():
            known = excluded.setdefault(column, [])
            known += [value for value in values if value not in known]
    return excluded


def _tags(names: Sequence[str]) -> dict[str, str]:
    """Return tags as Dagster takes them: letters, digits, _, . and -, at most 63."""
    cleaned = (re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:63] for name in names)
    return {name: "" for name in cleaned if name}
