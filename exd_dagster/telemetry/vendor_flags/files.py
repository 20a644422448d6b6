"""The files of an export: one, several parts of one, or copies made over time."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

import yaml

from exd_dagster.config.instants import InstantLike, instant_of
from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.vendor_flags.model import Document

Source: TypeAlias = str | Path | Mapping[InstantLike, str | Path]

_NAMED = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[T_ -]?(\d\d)[:h-]?(\d\d)(?:[:m-]?(\d\d))?)?(?!\d)")
_ENDINGS = (".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Copy:
    """An export at one time.

    Attributes:
        taken: when it was made (UTC).
        dated: whether the time was given or is in a file name; otherwise it is the modification time.
        documents: the parsed files by their path.
    """

    taken: datetime
    dated: bool
    documents: Mapping[str, Document]


def copies_of(source: Source) -> list[Copy]:
    """Read an export, in order of time.

    A folder in which every name contains an instant (`2026-03-01.json`, `flags-20260301T0900.json`, folders
    too) is read as copies made over time, a folder in which none does as the parts of one export.

    Raises:
        ConfigError: when nothing is there, a file cannot be parsed, or only some names contain an instant.
    """
    if isinstance(source, Mapping):
        dated = sorted(
            (instant_of(when, "flags_from", "start"), Path(place)) for when, place in source.items()
        )
        return [Copy(when, True, _documents(place)) for when, place in dated]
    place = Path(source)
    inside = _inside(place) if place.is_dir() else []
    named = [(when, child) for child in inside if (when := _instant_in(child.name)) is not None]
    if named and len(named) < len(inside):
        odd = next(child.name for child in inside if _instant_in(child.name) is None)
        raise ConfigError(
            f"the copies in '{place}'",
            [f"'{odd}' has no time in its name, others do; name it like {named[0][1].name}"],
        )
    if named:
        return [Copy(when, True, _documents(child)) for when, child in sorted(named)]
    documents = _documents(place)
    taken = max(Path(name).stat().st_mtime for name in documents)
    return [Copy(datetime.fromtimestamp(taken, timezone.utc).replace(microsecond=0), False, documents)]


def _instant_in(name: str) -> datetime | None:
    """Return the instant in a file's name, in UTC."""
    found = _NAMED.search(name)
    if found is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in found.groups()), tzinfo=timezone.utc)  # type: ignore[arg-type,misc]
    except ValueError:
        return None


def _inside(folder: Path) -> list[Path]:
    return sorted(
        child
        for child in folder.iterdir()
        if not child.name.startswith(".") and (child.is_dir() or child.suffix.lower() in _ENDINGS)
    )


def _documents(place: Path) -> dict[str, Document]:
    files: Sequence[Path] = [place]
    if place.is_dir():
        files = [child for child in _inside(place) if child.is_file()]
    if not files or not place.exists():
        seen = "has no .json, .yaml or .yml file" if place.is_dir() else "does not exist"
        raise ConfigError(f"flags '{place}'", [f"{seen}; pass what the vendor exports, or its API returns"])
    return {str(file): _parsed(file) for file in files}


def _parsed(file: Path) -> Document:
    try:
        text = file.read_text(encoding="utf-8-sig")
        return yaml.safe_load(text) if file.suffix.lower() in (".yaml", ".yml") else json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"flags '{file}'", [f"cannot be read as UTF-8 text ({error})"]) from None
    except (json.JSONDecodeError, yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"flags '{file}'", [f"cannot be parsed ({said}); export it again"]) from None
