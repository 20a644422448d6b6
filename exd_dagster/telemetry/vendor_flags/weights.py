"""Arithmetic and look-ups shared by the readers."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from exd_dagster.config import to_utc
from exd_dagster.config.labels import is_owner
from exd_dagster.telemetry.vendor_flags.model import Arm, Shares, Stage, Underivable

SHOWN = 6
"""Shares written out in a refusal."""


def derive(make: Callable[[], Stage], since: datetime | None = None) -> Stage:
    """Return the stage that `make` derives, or one with the reason why it could not."""
    try:
        return make()
    except Underivable as refused:
        return Stage(since=since, refusal=str(refused))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        return Stage(since=since, refusal=f"its definition is not as documented ({error!r})")


def shared(weights: Iterable[tuple[Arm, float]], whole: float | None = None) -> tuple[tuple[Arm, float], ...]:
    """Return weights as shares: equal arms added up, arms of weight 0 left out, divided by their sum.

    Args:
        weights: weight of each arm, in any unit.
        whole: what they must sum to; None: anything above 0.

    Raises:
        Underivable: when they sum to something else.
    """
    by_key: dict[str, tuple[Arm, float]] = {}
    for arm, weight in weights:
        if weight < 0:
            raise Underivable(f"variation '{arm.key}' has the weight {weight}")
        name = arm.key if arm.index is None else f"{arm.index} {arm.key}"
        by_key[name] = (arm, by_key.get(name, (arm, 0.0))[1] + weight)
    total = sum(weight for _, weight in by_key.values())
    if total <= 0 or (whole is not None and abs(total - whole) > whole * 1e-3):
        wanted = "more than 0" if whole is None else f"{whole:g}"
        raise Underivable(f"its weights sum to {total:g}, not {wanted}")
    return tuple((arm, weight / total) for arm, weight in by_key.values() if weight > 0)


def switch(share: float) -> tuple[tuple[Arm, float], ...]:
    """Return the shares of a switch that is on for `share` of the units: true and false."""
    return shared([(Arm("true", value=True), share), (Arm("false", value=False), 1 - share)])


def written(shares: Shares) -> str:
    """Return shares as in a declaration: {a: 0.5, b: 0.5}."""
    parts = [f"{arm.key}: {share:.4g}" for arm, share in shares[:SHOWN]]
    return "{" + ", ".join([*parts, *(["..."] if len(shares) > SHOWN else [])]) + "}"


def instant(value: Any) -> datetime | None:
    """Read an instant as vendors write it: RFC 3339 text, or milliseconds since 1970; None for none (UTC)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return datetime.fromtimestamp(value / 1000, timezone.utc).replace(microsecond=0)
    if isinstance(value, str) and value.strip():
        try:
            read = to_utc(_seconds(value))
        except ValueError:
            return None
        return read if isinstance(read, datetime) else None
    return None


def _seconds(text: str) -> str:
    """Python 3.10 reads fractions of three or six digits alone; a flag's change needs none."""
    head, dot, rest = text.strip().partition(".")
    zone = rest.lstrip("0123456789")
    return f"{head}{zone or 'Z'}" if dot else head


def owners_of(*people: Any) -> tuple[str, ...]:
    """Return the e-mail addresses, and names of teams, of people: text, or objects with an `email`."""
    names = [one.get("email") if isinstance(one, Mapping) else one for one in people]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and is_owner(name)))


def tags_of(names: Any) -> tuple[str, ...]:
    """Return tags listed as text, or as objects with a name."""
    listed = names if isinstance(names, (list, tuple)) else []
    words = [name.get("name") if isinstance(name, Mapping) else name for name in listed]
    return tuple(word for word in words if isinstance(word, str) and word)


def pick(environments: Mapping[str, Any], wanted: str | None) -> Any:
    """Return the block of one environment; the only one where none is named.

    Raises:
        Underivable: when it is not there, or several are and none is named.
    """
    if wanted is not None:
        if wanted not in environments:
            raise not_in_export(wanted, environments)
        return environments[wanted]
    if len(environments) != 1:
        raise Underivable(f"it has the environments {', '.join(sorted(environments))}; name environment=")
    return next(iter(environments.values()))


def not_in_export(environment: str, known: Iterable[str]) -> Underivable:
    """Return the error for an environment of which an export holds nothing."""
    return Underivable(f"environment '{environment}' is not in the export; it has {', '.join(sorted(known))}")


def items_of(document: Any, *names: str) -> list[Any]:
    """Return the list under one of `names` in an API response; a plain list or object is accepted too."""
    if isinstance(document, list):
        return document
    for name in names:
        if isinstance(document, Mapping) and isinstance(document.get(name), list):
            return list(document[name])
    return [document]


def has(value: Any, *names: str) -> bool:
    """Return whether a JSON object has all these keys."""
    return isinstance(value, Mapping) and all(name in value for name in names)
