"""Who is counted: flags as declared, turned into the conditions their records must meet."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from re import fullmatch
from typing import Any

from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.config import FlagAudit, Phase, Scalar
from exd_dagster.config.reasons import EXCLUDED_REASONS, is_reason, reason_form
from exd_dagster.telemetry.records import instant_ms, literal

RANKS = 1 << 20
"""A variant's rank takes the low 20 bits of an exposure: 43 bits of milliseconds (to 2248), then the rank."""
SUB_BITS = 6
"""Bits for the parts of an hour split by a phase, or by the end of its uptake."""
UPTAKE = 1 << 16
"""Added to the number of a phase while clients may still be served the phase before."""


@dataclass(frozen=True, slots=True)
class Target:
    """One flag of one reading.

    Attributes:
        number: its number in the store.
        flag: its declaration.
        start: first millisecond read.
        end: first millisecond no longer read.
    """

    number: int
    flag: FlagAudit
    start: int
    end: int

    @property
    def phases(self) -> list[tuple[int, int]]:
        """Start (ms) and iteration of each phase; a flag without a split has one."""
        starts = [(instant_ms(self.flag.start), 0)]
        for phase in self._later:
            starts.append((instant_ms(phase.start), starts[-1][1] + phase.rerandomized))
        return starts

    @property
    def parts(self) -> list[tuple[int, int, int]]:
        """Start (ms), number and iteration of each phase's uptake (number + UPTAKE) and of its rest."""
        taken_up = [instant_ms(self.flag.start), *(instant_ms(self.flag.taken_up(p)) for p in self._later)]
        ends = [*(start for start, _ in self.phases[1:]), 1 << 62]
        parts = []
        for number, ((start, iteration), steady, end) in enumerate(
            zip(self.phases, taken_up, ends, strict=True)
        ):
            if steady > start:
                parts.append((start, number + UPTAKE, iteration))
            parts.append((min(steady, end), number, iteration))
        return parts

    @property
    def _later(self) -> list[Phase]:
        return [phase for phase in self.flag.phases if phase.start > self.flag.start]

    @property
    def scope(self) -> tuple[str, str | None, str | None]:
        """Key, namespace and environment of its records; None: any."""
        return self.flag.key, self.flag.namespace, self.flag.environment

    @property
    def extras(self) -> set[str]:
        """Columns its filters need."""
        return set(self.flag.include) | set(self.flag.exclude)


def iteration_of(target: Target) -> datetime:
    """Return the start of the iteration in which the hours read end (UTC)."""
    return max(start for start in target.flag.iterations if instant_ms(start) < target.end)


def definition(flag: FlagAudit) -> dict[str, Any]:
    """Return what decides which records of a flag are counted and how, as JSON values.

    And, where it changes, the declared coverage, on which no count depends.
    """
    coverage = [[instant_ms(phase.start), phase.coverage] for phase in flag.schedule if phase.coverage]
    changes = {"coverage": coverage} if len({share for _, share in coverage}) > 1 else {}
    return changes | {
        "start": instant_ms(flag.start),
        "end": flag.end and instant_ms(flag.end),
        "phases": [[instant_ms(phase.start), phase.rerandomized] for phase in flag.phases],
        "include": {name: sorted(map(repr, values)) for name, values in sorted(flag.include.items())},
        "exclude": {name: sorted(map(repr, values)) for name, values in sorted(flag.exclude.items())},
        "ignore_variants": sorted(flag.ignore_variants),
        "exclude_reasons": sorted({*map(reason_form, flag.exclude_reasons)}),
    }


_DEFAULT_REASONS = {*map(reason_form, EXCLUDED_REASONS)}
_FIRST_REASONS = {"off", "error", "sdkdefault", "prerequisitefailed"}
_FORMER_REASONS = (_FIRST_REASONS, _FIRST_REASONS | {"disabled", "default"})
"""The defaults of earlier versions: a store counted with one of them goes on."""


def counts_the_same(stored: str, flag: FlagAudit, through: int) -> bool:
    """Return True when bins of the stored definition are valid for `flag` too, up to the hour `through`.

    An end or a phase after the counted hours changes nothing. Nor does another uptake: no count depends on
    it, only which units of hours still to be read are carried over. Nor does a shorter list of default
    reasons: records that the log no longer has could not be counted again.
    """
    old, new = json.loads(stored), json.loads(json.dumps(definition(flag)))
    for value in (old, new):
        value.pop("coverage", None)
        value["phases"] = [phase for phase in value["phases"] if phase[0] < through * HOUR_MS]
        if value["end"] and value["end"] >= through * HOUR_MS:
            value["end"] = None
        reasons = {*map(reason_form, value["exclude_reasons"])}
        value["exclude_reasons"] = sorted(_DEFAULT_REASONS if reasons in _FORMER_REASONS else reasons)
    return bool(old == new)


def conditions(targets: Sequence[Target], columns: Mapping[str, str]) -> str:
    """Return SQL that is true for the records `include` and `exclude` let through."""
    wanted = [("include", "coalesce({}, false)"), ("exclude", "NOT coalesce({}, false)")]
    clauses = []
    for which, form in wanted:
        filters = defaultdict(list)
        for target in targets:
            for column, values in getattr(target.flag, which).items():
                filters[form.format(is_one_of(columns[column], values))].append(target)
        clauses += [_only_for(chosen, clause, targets) for clause, chosen in filters.items()]
    return " AND ".join(clauses) or "true"


def left_out(targets: Sequence[Target]) -> str:
    """Return SQL that is true for records excluded by their evaluation reason."""
    return _per_target(
        targets, lambda t: t.flag.exclude_reasons, lambda reasons: is_reason("reason", reasons)
    )


def ignored(targets: Sequence[Target]) -> str:
    """Return SQL that is true for the records of ignored variants."""
    return _per_target(
        targets,
        lambda t: t.flag.ignore_variants,
        lambda names: f"coalesce(variant IN ({_list(names)}), false)",
    )


def is_one_of(column: str, values: Iterable[Scalar]) -> str:
    """Return SQL for "the column has one of these values"; see `Wanted`."""
    wanted = wanted_values(values)
    text = f"trim(CAST({column} AS VARCHAR))"
    tests = []
    if wanted.texts:
        tests.append(f"{text} IN ({_list(wanted.texts)})")
    if wanted.truths:
        tests.append(f"lower({text}) IN ({_list(wanted.truths)})")
    if wanted.numbers:
        tests.append(f"TRY_CAST({column} AS DOUBLE) IN ({_list(wanted.numbers)})")
    return f"({' OR '.join(tests) or 'false'})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values of a filter, by kind of comparison, for logs of any writer.

    Text is compared exactly, except for blanks around it, and a whole number as text in both its spellings:
        "5"
    is 5 and 5.0. A number is compared as a number. True and False are also true, TRUE, t, 1 and 1.0.

    Attributes:
        texts: text compared exactly.
        truths: text compared in any case.
        numbers: numbers compared by value.
    """

    texts: tuple[str, ...]
    truths: tuple[str, ...]
    numbers: tuple[float, ...]

    def meets(self, text: str) -> bool:
        """Return whether a value, written as text, is one of these."""
        text = text.strip()
        try:
            number = float(text) in self.numbers
        except ValueError:
            number = False
        return number or text in self.texts or text.lower() in self.truths


def wanted_values(values: Iterable[Scalar]) -> Wanted:
    """Group the values of a filter by how they are compared."""
    texts: list[str] = []
    truths: list[str] = []
    numbers: list[float] = []
    for value in values:
        if isinstance(value, bool):
            truths += ["true", "t"] if value else ["false", "f"]
            numbers.append(float(value))
        elif isinstance(value, str):
            texts += [value.strip(), *([f"{value.strip()}.0"] if fullmatch(r"-?\d+", value.strip()) else [])]
        elif isinstance(value, int) and abs(value) > _EXACT:
            texts += [str(value)]
        else:
            numbers.append(float(value))
    return Wanted(tuple(texts), tuple(truths), tuple(numbers))


_EXACT = 1 << 53
"""Whole numbers beyond this are compared as text: as floating point they would equal their neighbours."""


def _per_target(
    targets: Sequence[Target],
    values_of: Callable[[Target], tuple[str, ...]],
    clause_of: Callable[[tuple[str, ...]], str],
) -> str:
    groups = defaultdict(list)
    for target in targets:
        if values_of(target):
            groups[values_of(target)].append(target)
    clauses = []
    for values, chosen in groups.items():
        whose = "" if len(chosen) == len(targets) else f"target IN ({_numbers(chosen)}) AND "
        clauses.append(f"({whose}{clause_of(values)})")
    return f"({' OR '.join(clauses)})" if clauses else "false"


def _only_for(chosen: Sequence[Target], clause: str, targets: Sequence[Target]) -> str:
    return clause if len(chosen) == len(targets) else f"(target NOT IN ({_numbers(chosen)}) OR {clause})"


def _numbers(targets: Iterable[Target]) -> str:
    return ", ".join(str(target.number) for target in targets)


def _list(values: Iterable[Scalar]) -> str:
    return ", ".join(literal(value) for value in values)


def spans(target: Target) -> list[tuple[int, int, int, int, int]]:
    """Return number, phase, iteration, first slot and end slot of each part of the flag's phases.

    A slot is an hour (since 1970) times 64 plus the part of the hour: a phase that starts inside an hour
    starts a new part of it, so that each slot belongs to one part.
    """
    parts = target.parts
    inside: dict[int, int] = defaultdict(int)
    firsts = []
    for place, (start, _, _) in enumerate(parts):
        hour = start // HOUR_MS
        inside[hour] += is_inside(place, start)
        firsts.append((hour << SUB_BITS) + inside[hour])
    ends = [*firsts[1:], 1 << 62]
    return [
        (target.number, phase, iteration, first, end)
        for (_, phase, iteration), first, end in zip(parts, firsts, ends, strict=True)
    ]


def part_of_hour(targets: Sequence[Target]) -> str:
    """Return SQL for the part of the hour of a record; 0 unless a phase starts inside the hour."""
    terms = [
        f"(target = {target.number} AND us >= {start * 1000} AND us < "
        f"{(start // HOUR_MS + 1) * HOUR_MS * 1000})::INTEGER"
        for target in targets
        for place, (start, _, _) in enumerate(target.parts)
        if is_inside(place, start)
    ]
    return f"({' + '.join(terms)})" if terms else "0"


def is_inside(place: int, start: int) -> bool:
    """Return True for a part after the first that does not start on the hour."""
    return place > 0 and start % HOUR_MS > 0
