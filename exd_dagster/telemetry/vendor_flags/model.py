"""The nouns of a vendor's export: arms, stages, flags, and the reader that finds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

Document: TypeAlias = Any
"""One parsed JSON or YAML file."""

Status: TypeAlias = Literal["draft", "running", "stopped", "archived"]
Form: TypeAlias = Literal["key", "index", "value", "id"]
Shares: TypeAlias = Sequence[tuple["Arm", float]]

FORMS: tuple[Form, ...] = ("key", "index", "value", "id")


@dataclass(frozen=True, slots=True)
class Arm:
    """One variation, under every name that a log may write.

    Attributes:
        key: its name.
        index: its place among the variations of the flag, from 0; None where the vendor has none.
        value: what is served: JSON.
        id: its identifier; "" where the vendor has none.
    """

    key: str
    index: int | None = None
    value: Any = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """A period with one split.

    Attributes:
        shares: share of each arm among the units that the vendor records, sum 1; empty where not derivable.
        coverage: share of the eligible units that the vendor records, 0..1.
        space: what assigns the units: salt, seed, hash version, attribute. Another space assigns them afresh.
        since: start according to the vendor (UTC); None: when the export was made.
        refusal: why there is no split, and what to declare.
        exclude: records that the shares do not apply to, as `FlagAudit.exclude`.
        ignore: variants that say that a unit was given none.
    """

    shares: tuple[tuple[Arm, float], ...] = ()
    coverage: float = 1.0
    space: tuple[str, ...] = ()
    since: datetime | None = None
    refusal: str = ""
    exclude: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VendorFlag:
    """One flag as one export declares it for one environment.

    Attributes:
        key: as the records name it.
        stages: in order of time; several only if the export contains the flag's history.
        status: whether it assigns units.
        owners: e-mail addresses, or team:name.
        tags: as the vendor lists them.
        changed: last change according to the vendor (UTC).
        end: when it stopped (UTC).
        id: the key of records that go by ids; "" where none do.
        notes: remarks on the split, one sentence each.
    """

    key: str
    stages: tuple[Stage, ...]
    status: Status = "running"
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    changed: datetime | None = None
    end: datetime | None = None
    id: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """How the exports of one vendor are read.

    Attributes:
        name: what `vendor=` names it by.
        looks_like: how an export is recognised, as text.
        fits: whether a document is such an export.
        read: its flags in one environment (None: the only one). Raises `Underivable` for a document as a
            whole that cannot be read.
        form: how the vendor's own exposures name an arm.
    """

    name: str
    looks_like: str
    fits: Callable[[Document], bool]
    read: Callable[[Document, str | None], list[VendorFlag]]
    form: Form = "key"


class Underivable(Exception):  # noqa: N818 - a result, not an error
    """The split cannot be derived; the message gives the reason and what to declare."""
