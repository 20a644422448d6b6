"""What a team declares: the flags to audit, their phases, and the thresholds of the checks.

Small value objects with safe defaults. Each validates itself when it is built and reports every fault at
once as a `ConfigError`. Instants are UTC: give them with an offset, or as a bare date (midnight UTC).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from math import fsum, isfinite
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from exd_dagster.config.calendar import Holidays, Zone, as_event
from exd_dagster.config.instants import Duration as Duration
from exd_dagster.config.instants import Instant as Instant
from exd_dagster.config.instants import to_duration as to_duration
from exd_dagster.config.instants import to_utc as to_utc
from exd_dagster.config.labels import Tags, is_owner
from exd_dagster.config.model import ConfigModel as ConfigModel
from exd_dagster.config.reasons import EXCLUDED_REASONS
from exd_dagster.config.thresholds import EvaluationRateAnomalyThresholds as EvaluationRateAnomalyThresholds
from exd_dagster.config.thresholds import ManifestSkewThresholds as ManifestSkewThresholds
from exd_dagster.config.thresholds import SegmentSrmThresholds as SegmentSrmThresholds
from exd_dagster.config.thresholds import SequentialSrmThresholds as SequentialSrmThresholds
from exd_dagster.config.thresholds import SrmThresholds as SrmThresholds
from exd_dagster.config.thresholds import Thresholds as Thresholds
from exd_dagster.config.thresholds import TrafficDropThresholds as TrafficDropThresholds
from exd_dagster.config.thresholds import VariantIntegrityThresholds as VariantIntegrityThresholds

Mode: TypeAlias = Literal["observe", "warn", "block"]
Scalar: TypeAlias = str | int | float | bool

SPLIT_TOLERANCE = 0.001
"""Declared shares must sum to 1 within this, as exd's `--expected` requires."""


UPTAKE = timedelta(hours=1)
"""How long clients take to follow a declared change by default; docs/statistics.md explains the choice."""


def floor_hour(instant: datetime) -> datetime:
    """Return the start of the UTC hour that contains `instant`."""
    return instant.replace(minute=0, second=0, microsecond=0)


def validate_split(split: Mapping[str, float]) -> dict[str, float]:
    """Return the declared shares divided by their sum.

    Raises:
        ValueError: when there is none, a share is negative or not finite, or they do not sum to 1 +- 0.001.
    """
    if not split:
        raise ValueError(
            "declares no variant; write the share of each, for example {control: .5, treatment: .5}"
        )
    for variant, share in split.items():
        if not isfinite(share) or share < 0 or share > _LARGEST_SHARE:
            raise ValueError(f"share of '{variant}' is {share}; a share is a number from 0 to 1")
    total = fsum(split.values())
    if abs(total - 1) > SPLIT_TOLERANCE:
        raise ValueError(f"shares sum to {total:.6g}, not 1 (+- {SPLIT_TOLERANCE}); correct {dict(split)}")
    return {variant: share / total for variant, share in split.items()}


def _as_dict(split: object) -> object:
    """Copy a mapping or its pairs; what is neither is left to pydantic, which names it."""
    try:
        return dict(split)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return split


Split = Annotated[dict[str, float], BeforeValidator(_as_dict)]
_LARGEST_SHARE = 1e6
"""Shares between 1 and this are recognised by their sum, for they may be percentages or weights."""


class Phase(ConfigModel):
    """A period of a rollout with one declared split.

    A ramp or a mid-flight change is a new phase and is tested within itself. `rerandomized=True` starts a new
    iteration: units were assigned afresh, so first exposures, counts and evidence restart. Until `uptake`
    has passed, clients may still be served the phase before.
    """

    start: Instant = Field(description="First instant of the phase (UTC).")
    split: Split = Field(description="Declared share of each variant; sums to 1.")
    rerandomized: bool = Field(default=False, description="True when units were assigned afresh at `start`.")
    uptake: Duration | None = Field(
        default=None,
        ge=timedelta(0),
        description="How long after `start` clients may still be served the phase before; None: the flag's "
        "`uptake`.",
    )

    coverage: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of the eligible audience that is exposed; None: unknown, so traffic learns the "
        "level of the phase from its first day.",
    )

    @model_validator(mode="after")
    def _split_sums_to_one(self) -> Self:
        object.__setattr__(self, "split", validate_split(self.split))
        return self


class Event(ConfigModel):
    """A period known to be different: a campaign, a launch, maintenance. (from, to, note) for short."""

    start: Instant = Field(description="First instant (UTC).")
    end: Instant = Field(description="First instant after it (UTC).")
    note: str = Field(default="event", min_length=1, description="What it is, for verdict and picture.")
    judge: bool = Field(default=False, description="True: excluded from baselines only, still evaluated.")

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        return self


AnyEvent = Annotated[Event, BeforeValidator(as_event)]


PAIR = " & "
"""Between the keys of two flags that are named together."""


@dataclass(frozen=True, slots=True, order=True)
class FlagId:
    """Who a flag is, everywhere: in store keys, asset keys, fingerprints and messages."""

    namespace: str
    environment: str
    key: str

    def __str__(self) -> str:
        """`key`, with namespace and environment in front where they are named."""
        return "/".join(part for part in (self.namespace, self.environment, self.key) if part)

    @property
    def columns(self) -> dict[str, str]:
        """Its parts by the names of their columns in tables."""
        return {"namespace": self.namespace, "environment": self.environment, "flag_key": self.key}

    def is_named(self, glob: str) -> bool:
        """Return whether this is the key or the whole name, or a glob over either, that people gave.

        A pair is also named by the name of either flag, and by both in any order: "checkout & search".
        """
        both, parts = self.members, glob.split(PAIR)
        if both and len(parts) == len(both):
            return any(all(map(FlagId.is_named, both, order)) for order in (parts, parts[::-1]))
        names = (self.key, str(self), *(name for flag in self.members for name in (flag.key, str(flag))))
        return any(name == glob or fnmatchcase(name, glob) for name in names)

    @property
    def scope(self) -> tuple[str, str]:
        """Namespace and environment."""
        return self.namespace, self.environment

    def pair(self, other: "FlagId") -> "FlagId":
        """Return the name of two flags of one namespace and environment together: "search & checkout"."""
        return FlagId(self.namespace, self.environment, PAIR.join(sorted((self.key, other.key))))

    @property
    def members(self) -> "tuple[FlagId, ...]":
        """The two flags of a pair; of a flag nothing."""
        keys = self.key.split(PAIR)
        return tuple(FlagId(self.namespace, self.environment, key) for key in keys) if len(keys) == 2 else ()


def _storable(text: str) -> bool:
    """Return whether text can be written in a database, a file and a message."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


EXPOSED = "exposed"
"""The stage that a flag's own checks judge."""


class FlagAudit(ConfigModel):
    """One flag to audit: who is counted, which split was declared, and what a failure does."""

    key: str = Field(min_length=1, description="flag_key as written in the records, of any length.")
    split: Split | None = Field(
        default=None,
        description="Declared share of each variant from `start` on; None (and no phases): SRM is skipped.",
    )
    start: Instant = Field(description="First instant counted (UTC).")
    end: Instant | None = Field(default=None, description="First instant no longer counted (UTC).")
    namespace: str | None = Field(default=None, description="Namespace; None: the only one.")
    environment: str | None = Field(default=None, description="Environment; None: the only one.")
    phases: tuple[Phase, ...] = Field(default=(), description="Later splits, in order of `start`.")
    uptake: Duration = Field(
        default=UPTAKE,
        ge=timedelta(0),
        description="How long after the start of a phase clients may still be served the phase before: their "
        "polling interval, cache or session. 0: every client changes at once.",
    )
    coverage: float = Field(
        default=1.0, gt=0, le=1, description="Share of the eligible audience exposed from `start` on."
    )
    timezone: Zone = Field(
        default="UTC", description="Time zone of the audience; its hour of the week counts."
    )
    holidays: Holidays = Field(
        default=(), description='Public holidays left out of the traffic test: "US", "DE-BY", or several.'
    )
    events: tuple[AnyEvent, ...] = Field(
        default=(), description="Periods known to be different: [from, to, note]."
    )
    include: dict[str, list[Scalar]] = Field(default={}, description="Count only records with these values.")
    exclude: dict[str, list[Scalar]] = Field(default={}, description="Leave out records with these values.")
    stages: dict[str, list[Scalar]] = Field(
        default={},
        description="Stages of a unit in their order, each with its values in `stage_column`: assigned, "
        "exposed, activated. The flag's own checks count those of `exposed`; `stage_srm` tests every stage.",
    )
    stage_column: str = Field(default="stage", description="Record column that names the stage.")
    ignore_variants: tuple[str, ...] = Field(
        default=(), description="Variants neither counted nor undeclared, for example a holdout."
    )
    exclude_reasons: tuple[str, ...] = Field(
        default=EXCLUDED_REASONS, description="Evaluation reasons left out and counted separately."
    )
    dimensions: tuple[str, ...] = Field(
        default=(), description="Further record columns whose values divide units into segments."
    )
    layers: tuple[str, ...] = Field(
        default=(),
        description="Names of groups of flags that depend on each other by design: a layer of mutually "
        "exclusive experiments, a prerequisite. `assignment_collision` does not compare flags of one group.",
    )
    owners: tuple[str, ...] = Field(default=(), description="An e-mail address or team:name, as in Dagster.")
    tags: Tags = Field(default={}, description="Tags of the flag's bins asset, as in Dagster.")
    block_on: tuple[str, ...] = Field(
        default=(), description="Further checks whose failure blocks in mode block: variant_integrity, ..."
    )
    mode: Mode = Field(
        default="block",
        description="What a failure does: observe (digest only), warn (alert at once), or block (alert at "
        "once, and reports stop).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.split is not None:
            object.__setattr__(self, "split", validate_split(self.split))
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        for name, texts in self._texts.items():
            if not all(map(_storable, texts)):
                raise ValueError(f"{name} contains half a character; copy it from the log again")
        if strange := [owner for owner in self.owners if not is_owner(owner)]:
            listed = ", ".join(repr(owner)[:80] for owner in strange)
            raise ValueError(f"owners: {listed}: write an e-mail address, or team:name, as Dagster requires")
        starts = [phase.start for phase in self.phases]
        if starts != sorted(set(starts)) or (starts and starts[0] < self.start):
            raise ValueError(f"phases must start after one another, none before start {self.start}")
        if self.phases and self.split is not None and starts[0] == self.start:
            raise ValueError("split and a phase both describe the first instant; keep only one")
        if self.phases and self.split is None and starts[0] != self.start:
            raise ValueError(f"without split, the first phase must begin at start {self.start}")
        declared = {variant for phase in self.schedule for variant in phase.split}
        both = sorted(declared & set(self.ignore_variants))
        if both:
            raise ValueError(f"ignore_variants names declared variants: {', '.join(both)}")
        return self

    @model_validator(mode="after")
    def _judged_when_exposed(self) -> Self:
        """Count the stage `exposed` alone."""
        if not self.stages:
            return self
        if EXPOSED not in self.stages or len(self.stages) < 2:
            named = ", ".join(self.stages)
            raise ValueError(f"stages: {named}: name at least two, one of them '{EXPOSED}', which is judged")
        exposed = self.stages[EXPOSED]
        if self.include.get(self.stage_column, exposed) != exposed:
            raise ValueError(f"include: {self.stage_column} is that of stages; leave it out of include")
        object.__setattr__(self, "include", {**self.include, self.stage_column: exposed})
        return self

    @property
    def _texts(self) -> dict[str, list[str]]:
        """Everything that is compared with a log, by field."""
        texts = {name: [getattr(self, name) or ""] for name in ("key", "namespace", "environment")}
        texts |= {
            name: list(getattr(self, name))
            for name in ("ignore_variants", "exclude_reasons", "dimensions", "layers")
        }
        for name in ("include", "exclude"):
            filters: dict[str, list[Scalar]] = getattr(self, name)
            texts[name] = [*filters, *(str(value) for values in filters.values() for value in values)]
        return {**texts, "split": [variant for phase in self.schedule for variant in phase.split]}

    @property
    def id(self) -> FlagId:
        """Namespace, environment and key; "" where none is named."""
        return FlagId(self.namespace or "", self.environment or "", self.key)

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """All phases in order, the first made of `split`; empty when no split is declared."""
        if self.split is None:
            return self.phases
        return (Phase(start=self.start, split=self.split, coverage=self.coverage), *self.phases)

    @property
    def iterations(self) -> tuple[datetime, ...]:
        """Start of each iteration: the flag's start, then each rerandomised phase."""
        return (self.start, *(p.start for p in self.phases if p.rerandomized and p.start > self.start))

    def phase_at(self, instant: datetime) -> Phase | None:
        """Return the phase in force at an instant, the first one before any; None without a split."""
        begun = [phase for phase in self.schedule if phase.start <= instant]
        return next(iter(begun[-1:] or self.schedule), None)

    def taken_up(self, phase: Phase) -> datetime:
        """Return the first instant at which no client serves what was declared before `phase` (UTC)."""
        return phase.start + (self.uptake if phase.uptake is None else phase.uptake)

    @property
    def variants(self) -> tuple[str, ...]:
        """Every declared variant, in order of first declaration."""
        return tuple(dict.fromkeys(variant for phase in self.schedule for variant in phase.split))


class Timing(ConfigModel):
    """When an hour counts as complete, and how far back each run reads again."""

    lateness: Duration = Field(
        default=timedelta(hours=1),
        ge=timedelta(0),
        description="An hour closes once the newest records are this much later than its end.",
    )
    lookback: Duration = Field(
        default=timedelta(hours=48),
        ge=timedelta(0),
        description="Re-read before each window for late records.",
    )
    future_tolerance: Duration = Field(
        default=timedelta(minutes=5), description="Records further in the future are quarantined."
    )
    retention: Duration | None = Field(
        default=None,
        ge=timedelta(0),
        description="Units of flags that ended this long ago are forgotten, bins stay; None: never.",
    )


AT_ONCE = Timing(lateness=timedelta(0), lookback=timedelta(0))
"""For a log that is read once and whole: nothing is waited for, nothing read again."""
