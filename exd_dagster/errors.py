"""Every error is an instruction: what is wrong, where, what was seen and wanted, and the fix.

ExdError                  catch this to catch all of ours
├── ConfigError           a FlagAudit, a thresholds file, a destination: all faults at once
├── RecordsError          records cannot be read: file, column, type
├── StoreError            the bin store is locked, full, or of another format
├── ExtensionError        a package or extension is missing (also a StoreError and a RecordsError)
├── InputError            a number or array given to a statistical test (also a ValueError)
└── DeliveryError         one alert could not be delivered to one destination
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ExdError(Exception):
    """Base of all errors raised on purpose by exd_dagster."""


class ConfigError(ExdError, ValueError):
    """A configuration cannot be used; `faults` lists everything wrong with it, one line each."""

    def __init__(self, subject: str, faults: Iterable[str]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        super().__init__("\n  - ".join([f"{subject} cannot be used:", *self.faults]))


class RecordsError(ExdError):
    """Evaluation records cannot be read as they are."""


class StoreError(ExdError):
    """The bin store cannot be read or written."""


class ExtensionError(RecordsError, StoreError):
    """The records or the store need a package or an extension of DuckDB; says what to install."""


class InputError(ExdError, ValueError):
    """A statistical test was given a value it cannot honestly use."""


class DeliveryError(ExdError):
    """One alert could not be handed to one destination."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that differs in case, blanks or separators only, else the nearest in spelling."""
    names = sorted(known)
    same = [other for other in names if folded(other) == folded(name)]
    near = same or get_close_matches(name, names, n=1, cutoff=0.6)
    return near[0] if near else None


def folded(name: str) -> str:
    """Return a name without what people leave out or write otherwise: case, blanks, separators."""
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, else the list of known names."""
    names = sorted(known)
    near = nearest_name(name, names)
    if near:
        return f" Did you mean '{near}'?"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f" Known: {', '.join(names[:_LISTED]) or 'none'}{more}."


_LISTED = 20
