"""A manifest as the audit reads it: one `FlagAudit` per flag, its declared split taken from the buckets."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from exd_dagster.config import FlagAudit, Mode, Phase
from exd_dagster.config.instants import InstantLike, instant_of
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.manifest.declared_split import MATCHED_REASONS, DeclaredSplit, declared_split
from exd_dagster.telemetry.manifest.files import manifest_files
from exd_dagster.telemetry.manifest.model import Manifest
from exd_dagster.telemetry.manifest.parse import parse_manifest

Manifests: TypeAlias = str | Path | Mapping[InstantLike, str | Path]

_log = logging.getLogger(__name__)


def read_manifest(path: str | Path) -> list[Manifest]:
    """Read every namespace at `path`: its directory, a folder of them, or a `<slug>-v<N>.tar.gz`.

    Raises:
        ConfigError: when there is no manifest at `path`. A faulty file inside is carried as a fault.
    """
    return [parse_manifest(files) for files in manifest_files(path)]


def flags_from_manifest(
    path: Manifests,
    *,
    environment: str,
    start: InstantLike | None = None,
    end: InstantLike | None = None,
    mode: Mode = "block",
) -> list[FlagAudit]:
    """Return one audit per flag of the manifest, in order of namespace and key.

    A flag whose split cannot be derived is returned without one: its SRM checks are skipped, its traffic is
    still tested, and a warning with the reason is logged.

    Args:
        path: a namespace directory, a folder of them, or an archive. Several versions are given as a mapping
            from the instant each took effect: a changed split is then a phase, and a changed salt or entity
            attribute a phase whose units were assigned again.
        environment: slug of the environment audited.
        start: first instant counted (UTC). By default the instant of the first version that has the flag;
            with one manifest the modification time of its files, with a warning.
        end: first instant no longer counted (UTC).
        mode: what a failure does.

    Raises:
        ConfigError: when there is no manifest at a path, or no namespace has the environment.
    """
    versions = _versions(path, start)
    _check_environment(versions, environment)
    audits = []
    for key in sorted({known for version in versions for known in version.flags}):
        history = [version.at(key, environment) for version in versions if key in version.flags]
        gone = [version.effective for version in versions if version.effective > history[-1].effective]
        audits.append(_audit(key, environment, history, end=gone[0] if gone else end, mode=mode))
    return audits


@dataclass(frozen=True, slots=True)
class _Declaration:
    """The definition of one flag from `effective` on."""

    effective: datetime
    declared: DeclaredSplit


@dataclass(frozen=True, slots=True)
class _Version:
    """Every namespace from `effective` on."""

    effective: datetime
    flags: Mapping[tuple[str, str], Manifest]

    def at(self, key: tuple[str, str], environment: str) -> _Declaration:
        return _Declaration(self.effective, declared_split(self.flags[key], key[1], environment))


def _versions(path: Manifests, start: InstantLike | None) -> list[_Version]:
    if not isinstance(path, Mapping):
        path = {_last_change(path) if start is None else start: path}
    versions = sorted(
        ((instant_of(when, "manifest", "start"), place) for when, place in path.items()),
        key=lambda pair: pair[0],
    )
    floor = versions[0][0] if start is None else instant_of(start, "manifest", "start")
    before = [place for when, place in versions if when <= floor]
    after = [_Version(when, _flags(place)) for when, place in versions if when > floor]
    return [_Version(floor, _flags(place)) for place in before[-1:]] + after


def _last_change(path: str | Path) -> datetime:
    """Return when a manifest was last modified (UTC); its contents apply at least since then."""
    instant = max(manifest.changed for manifest in read_manifest(path)).replace(microsecond=0)
    _log.warning(
        "manifest %s has no effective time: its flags are counted from %s, when a file of it was "
        "last modified here; pass start='%s' so that a fresh checkout counts the same",
        path, f"{instant:%Y-%m-%d %H:%M} UTC", f"{instant:%Y-%m-%dT%H:%M:%SZ}",
    )  # fmt: skip
    return instant


def _check_environment(versions: Sequence[_Version], environment: str) -> None:
    """Refuse an environment that every namespace spells otherwise."""
    known: set[str] = set()
    for manifest in (manifest for version in versions for manifest in version.flags.values()):
        if manifest.environments is None or environment in manifest.environments:
            return
        known.update(manifest.environments)
    if known:
        fault = f"environment: '{environment}' is not declared.{did_you_mean(environment, known)}"
        raise ConfigError("the manifest", [fault])


def _flags(place: str | Path) -> dict[tuple[str, str], Manifest]:
    flags = {}
    for manifest in read_manifest(place):
        for fault in manifest.faults:
            _log.warning("manifest %s: %s", manifest.namespace, fault)
        flags.update({(manifest.namespace, key): manifest for key in manifest.flags})
    return flags


def _audit(
    key: tuple[str, str],
    environment: str,
    history: Sequence[_Declaration],
    *,
    end: InstantLike | None,
    mode: Mode,
) -> FlagAudit:
    namespace, flag = key
    refusal = _refusal(history)
    if refusal:
        _log.warning("flag %s/%s/%s is skipped: no split declared: %s", namespace, environment, flag, refusal)
    matched = not refusal and history[0].declared.matched_only
    return FlagAudit(
        key=flag,
        namespace=namespace,
        environment=environment,
        start=history[0].effective,
        end=None if end is None else instant_of(end, "manifest", "end"),
        split=None if refusal else dict(history[0].declared.split or {}),
        phases=() if refusal else _phases(history),
        include={"evaluation_reason": list(MATCHED_REASONS)} if matched else {},
        mode=mode,
    )


def _refusal(history: Sequence[_Declaration]) -> str:
    for declaration in history:
        if declaration.declared.split is None:
            return declaration.declared.refusal
    if len({declaration.declared.matched_only for declaration in history}) > 1:
        return "one version splits only the units that match a predicate, another splits all; pass the phases"
    return ""


def _phases(history: Sequence[_Declaration]) -> tuple[Phase, ...]:
    """Return a phase for each version that changed the split or assigned units afresh."""
    phases = []
    for before, after in pairwise(history):
        afresh = before.declared.space != after.declared.space
        if afresh or before.declared.split != after.declared.split:
            split = dict(after.declared.split or {})
            phases.append(Phase(start=after.effective, split=split, rerandomized=afresh))
    return tuple(phases)
