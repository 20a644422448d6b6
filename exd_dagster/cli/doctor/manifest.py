"""Compare the audited splits with a manifest."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from exd_dagster.alerts.messages.words import count
from exd_dagster.cli.doctor.diagnosis import Diagnosis, fail, ok, warn
from exd_dagster.config import FlagAudit
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.manifest.declared_split import DeclaredSplit, declared_split
from exd_dagster.telemetry.manifest.read import read_manifest

SAME_WITHIN = 0.0005
"""Shares that differ by no more than this are the same: half of what a sum may be off."""

_FIX = "correct split=, or add a phase from the instant the manifest changed"


def diagnose_manifest(
    path: Path, environment: str | None, flags: Sequence[FlagAudit], now: datetime
) -> list[Diagnosis]:
    """Compare the audited flags with a manifest.

    Args:
        path: a namespace directory, a folder of them, or an archive.
        environment: environment in the manifest, for flags that name none.
        flags: what is audited.
        now: which phase of each is compared: the one in force (UTC).
    """
    try:
        manifests = {manifest.namespace: manifest for manifest in read_manifest(path)}
    except ConfigError as error:
        return [
            fail("manifest", "; ".join(error.faults), "give the namespace directory that contains flags/")
        ]
    found: list[Diagnosis] = []
    compared = 0
    for flag in flags:
        own = [m for m in manifests.values() if flag.namespace in (None, m.namespace) and flag.key in m.flags]
        if not own:
            keys = {key for manifest in manifests.values() for key in manifest.flags}
            said = f"'{flag.id}' is not in {', '.join(sorted(manifests))}"
            fix = f"correct key= or namespace=, or end the audit if the flag was removed.{_near(flag, keys)}"
            found.append(warn("manifest", said, fix))
            continue
        compared += 1
        declared = declared_split(own[0], flag.key, flag.environment or environment)
        found += _differences(flag, declared, now)
    return found or [ok("manifest", f"{count(compared, 'flag')} audited with the split it declares")]


def _near(flag: FlagAudit, keys: set[str]) -> str:
    """The key itself may be declared, in another namespace."""
    return did_you_mean(flag.key, keys) if flag.key not in keys else " Another namespace declares the key."


def _differences(flag: FlagAudit, declared: DeclaredSplit, now: datetime) -> list[Diagnosis]:
    phase = flag.phase_at(now)
    audited = None if phase is None else phase.split
    if declared.split is None:
        if audited is not None:
            return []
        return [warn("manifest", f"'{flag.id}': {declared.refusal}", "declare split={variant: share}")]
    if audited is None:
        return [warn("manifest", f"'{flag.id}' is declared {_shares(declared.split)}, audited without", _FIX)]
    names = {*audited, *declared.split}
    if all(abs(audited.get(name, 0) - declared.split.get(name, 0)) <= SAME_WITHIN for name in names):
        return []
    said = f"'{flag.id}' is declared {_shares(declared.split)}, audited as {_shares(audited)}"
    return [fail("manifest", said, _FIX)]


def _shares(split: Mapping[str, float]) -> str:
    return ", ".join(f"{variant} {share:.4g}" for variant, share in split.items())
