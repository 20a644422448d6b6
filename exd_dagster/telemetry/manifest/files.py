"""The files of a manifest: a namespace directory, a folder of them, or a packed archive."""

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from exd_dagster.errors import ConfigError

_ARCHIVE = re.compile(r"(?P<slug>.+?)-v(?P<version>\d+)\.(?:tar\.gz|tgz)")
_FOLDERS = ("flags", "segments")


@dataclass(frozen=True, slots=True)
class ManifestFiles:
    """The text of each file that counts, by its name inside the namespace.

    Attributes:
        slug: name of the directory or archive.
        version: from an archive's name `<slug>-v<version>.tar.gz`, else None.
        texts: `namespace.toml`, `flags/<key>.toml` and `segments/<key>.toml`.
        faults: files that were refused, one line each.
        changed: when a file that counts was last modified (UTC).
    """

    slug: str
    version: int | None
    texts: Mapping[str, str]
    faults: tuple[str, ...]
    changed: datetime


def manifest_files(path: str | Path) -> list[ManifestFiles]:
    """Read every namespace found at `path`.

    Raises:
        ConfigError: when `path` is neither a manifest directory, nor a folder of them, nor an archive.
    """
    if "://" in str(path):
        raise ConfigError(
            f"manifest '{path}'",
            ["only local manifests are read; check it out or download the archive, then pass its path"],
        )
    place = Path(path)
    if place.is_file():
        return [_archive(place)]
    if _is_namespace(place):
        return [_directory(place)]
    inside = sorted(child for child in place.iterdir() if _is_namespace(child)) if place.is_dir() else []
    if not inside:
        seen = "it has no flags/ folder" if place.is_dir() else "it does not exist"
        raise ConfigError(
            f"manifest '{path}'",
            [f"{seen}; pass a namespace directory with flags/<key>.toml, or its <slug>-v<N>.tar.gz"],
        )
    return [_directory(child) for child in inside]


def _is_namespace(place: Path) -> bool:
    return (place / "flags").is_dir()


def _directory(root: Path) -> ManifestFiles:
    ignored = _ignore_rules(root)
    texts: dict[str, str] = {}
    faults: list[str] = []
    changed = 0.0
    for name, file in _candidates(root):
        if ignored(name):
            continue
        if file.is_symlink():
            faults.append(f"{name}: E018 is a symbolic link; put the file itself there")
            continue
        try:
            texts[name] = file.read_text(encoding="utf-8")
            changed = max(changed, file.stat().st_mtime)
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{name}: cannot be read as UTF-8 text ({error})")
    return ManifestFiles(root.resolve().name, None, texts, tuple(faults), _instant(changed))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _candidates(root: Path) -> Iterator[tuple[str, Path]]:
    if (root / "namespace.toml").exists():
        yield "namespace.toml", root / "namespace.toml"
    for folder in _FOLDERS:
        for file in sorted((root / folder).glob("*.toml")):
            if file.is_file() and not file.name.startswith("."):
                yield f"{folder}/{file.name}", file


def _archive(path: Path) -> ManifestFiles:
    texts: dict[str, str] = {}
    changed = 0.0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = str(PurePosixPath(member.name))
                content = archive.extractfile(member) if member.isfile() and _counts(name) else None
                if content is not None:
                    texts[name] = content.read().decode("utf-8")
                    changed = max(changed, member.mtime)
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"manifest '{path}'",
            [f"is not a readable gzip tar ({error}); pack the namespace directory again"],
        ) from None
    named = _ARCHIVE.fullmatch(path.name)
    slug = named["slug"] if named else path.name.split(".")[0]
    return ManifestFiles(slug, int(named["version"]) if named else None, texts, (), _instant(changed))


def _counts(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if name == "namespace.toml":
        return True
    return (
        len(parts) == 2 and parts[0] in _FOLDERS and name.endswith(".toml") and not parts[1].startswith(".")
    )


def _ignore_rules(root: Path) -> Callable[[str], bool]:
    """`.exdignore`: gitignore-style globs; the last matching line decides, `!` takes a file back in."""
    file = root / ".exdignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def ignored(name: str) -> bool:
        folder, _, own = name.rpartition("/")
        answer = False
        for rule in rules:
            glob = rule.lstrip("!").strip("/")
            if any(fnmatchcase(part, glob) for part in (name, folder, own)):
                answer = not rule.startswith("!")
        return answer

    return ignored
