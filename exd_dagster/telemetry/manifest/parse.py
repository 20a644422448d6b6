"""Manifest files -> the nouns of a manifest, with exd's lint codes for what is wrong."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from exd_dagster.config.toml import TOMLDecodeError, parse_toml
from exd_dagster.errors import did_you_mean
from exd_dagster.telemetry.manifest.files import ManifestFiles
from exd_dagster.telemetry.manifest.model import (
    BUCKETS,
    CATCH_ALL,
    Bucket,
    EnvironmentBlock,
    Manifest,
    ManifestFlag,
    Rule,
    Segment,
)

_KEY = re.compile(r"[a-z][a-z0-9_-]*")
_VERSION = re.compile(r"0\.\d+")
_TYPES = ("boolean", "string", "integer", "float", "json")
_Entity = TypeVar("_Entity", ManifestFlag, Segment)


def parse_manifest(files: ManifestFiles) -> Manifest:
    """Read every file; faults are recorded per flag or segment and do not affect the others."""
    faults = list(files.faults)
    namespace = _namespace(files, faults)
    return Manifest(
        namespace=str(namespace.get("slug") or files.slug),
        version=files.version,
        environments=tuple(namespace["environments"]) if namespace.get("environments") else None,
        flags=_entities(files.texts, "flags", _flag, faults),
        segments=_entities(files.texts, "segments", _segment, faults),
        changed=files.changed,
        faults=tuple(faults),
    )


def _namespace(files: ManifestFiles, faults: list[str]) -> Mapping[str, Any]:
    if "namespace.toml" not in files.texts:
        return {}
    found: list[str] = []
    table = _table(files.texts["namespace.toml"], "namespace", found)
    faults += [f"namespace.toml: {fault}" for fault in found]
    return table


def _entities(
    texts: Mapping[str, str], folder: str, parse: Callable[[str, str], _Entity], faults: list[str]
) -> dict[str, _Entity]:
    entities = {}
    for name, text in texts.items():
        path = PurePosixPath(name)
        if path.parts[0] != folder:
            continue
        if not _KEY.fullmatch(path.stem):
            faults.append(f"{name}: '{path.stem}' is not a key; use [a-z][a-z0-9_-]*")
            continue
        entities[path.stem] = parse(path.stem, text)
    return entities


def _table(text: str, name: str, faults: list[str]) -> Mapping[str, Any]:
    """Return the `[name]` table; every entity file has one, in addition to its schema_version."""
    try:
        document = parse_toml(text)
    except TOMLDecodeError as error:
        faults.append(f"is not TOML: {error}")
        return {}
    version = document.get("schema_version")
    if not (isinstance(version, str) and _VERSION.fullmatch(version)):
        faults.append(f'E001 schema_version is {version!r}; write schema_version = "0.1"')
    table = document.get(name)
    if not isinstance(table, Mapping):
        faults.append(f"has no [{name}] table")
        return {}
    return table


def _only(table: Mapping[str, Any], known: Iterable[str], where: str, faults: list[str]) -> None:
    faults += [
        f"E016 {where} has an unknown key '{key}'.{did_you_mean(key, known)}"
        for key in table
        if key not in set(known)
    ]


def _flag(key: str, text: str) -> ManifestFlag:
    faults: list[str] = []
    table = _table(text, "flag", faults)
    if not table:
        return ManifestFlag(key, faults=tuple(faults))
    if table.get("type") not in _TYPES:
        faults.append(f"E014 flag.type is {table.get('type')!r}; write one of {', '.join(_TYPES)}")
    faults += [
        f"E016 flag.{name} is not allowed; serve through [flag.environments._]"
        for name in ("key", "value", "rules", "enabled")
        if name in table
    ]
    variants = tuple(_mapping(table, "variants", "flag", faults))
    if not variants:
        faults.append("flag.variants declares no variant")
    blocks = {
        name: _environment(name, block, variants, faults)
        for name, block in _mapping(table, "environments", "flag", faults).items()
    }
    if CATCH_ALL not in blocks:
        faults.append("E037 [flag.environments._] is missing; every flag needs the catch-all block")
    elif blocks[CATCH_ALL].variant is None:
        faults.append("E038 flag.environments._.variant is missing; the catch-all needs a variant")
    return ManifestFlag(key, variants, blocks, tuple(faults))


def _mapping(table: Mapping[str, Any], key: str, where: str, faults: list[str]) -> Mapping[str, Any]:
    value = table.get(key, {})
    if isinstance(value, Mapping):
        return value
    faults.append(f"{where}.{key} is {value!r}; write a table")
    return {}


def _environment(name: str, block: object, variants: tuple[str, ...], faults: list[str]) -> EnvironmentBlock:
    where = f"flag.environments.{name}"
    if not isinstance(block, Mapping):
        faults.append(f"{where} is {block!r}; write a table")
        return EnvironmentBlock()
    _only(block, ("variant", "rules", "testing"), where, faults)
    if name == CATCH_ALL and "testing" in block:
        faults.append("E039 flag.environments._.testing is not allowed; set it in a named environment")
    variant = block.get("variant")
    if variant is not None:
        _declared(variant, variants, f"{where}.variant", faults)
    rules = block.get("rules")
    return EnvironmentBlock(
        variant=variant,
        rules=None if rules is None else _rules(rules, variants, where, faults),
        testing=bool(block.get("testing", False)),
    )


def _declared(variant: object, variants: tuple[str, ...], where: str, faults: list[str]) -> None:
    if variant not in variants:
        faults.append(f"E004 {where} is not declared: {variant!r}.{did_you_mean(str(variant), variants)}")


def _rules(rules: object, variants: tuple[str, ...], where: str, faults: list[str]) -> tuple[Rule, ...]:
    if not (isinstance(rules, list) and all(isinstance(rule, Mapping) for rule in rules)):
        faults.append(f"{where}.rules is {rules!r}; write [[{where}.rules]] tables")
        return ()
    return tuple(_rule(rule, variants, f"{where}.rules[{i}]", faults) for i, rule in enumerate(rules))


def _rule(rule: Mapping[str, Any], variants: tuple[str, ...], where: str, faults: list[str]) -> Rule:
    _only(rule, ("description", "segment", "predicate", "variant"), where, faults)
    _declared(rule.get("variant"), variants, f"{where}.variant", faults)
    if ("segment" in rule) == ("predicate" in rule):
        faults.append(f"E036 {where} needs exactly one of segment and predicate")
    segment = rule.get("segment")
    return Rule(str(rule.get("variant")), None if segment is None else str(segment))


def _segment(key: str, text: str) -> Segment:
    faults: list[str] = []
    table = _table(text, "segment", faults)
    _only(table, ("description", "predicate", "bucket"), "segment", faults)
    if table and not table.keys() & {"predicate", "bucket"}:
        faults.append("E011 segment has neither predicate nor bucket; write at least one")
    predicate = _mapping(table, "predicate", "segment", faults) if "predicate" in table else None
    bucket = _bucket(key, _mapping(table, "bucket", "segment", faults), faults) if "bucket" in table else None
    return Segment(key, predicate, bucket, tuple(faults))


def _bucket(key: str, table: Mapping[str, Any], faults: list[str]) -> Bucket | None:
    _only(table, ("entity_id_attribute", "salt", "start", "end"), "segment.bucket", faults)
    entity, salt = table.get("entity_id_attribute"), table.get("salt") or key
    start, end = _number(table, "start"), _number(table, "end")
    if not (isinstance(entity, str) and entity):
        faults.append(f"E006 segment.bucket.entity_id_attribute is {entity!r}; name the attribute hashed")
    if not 0 <= start <= end < BUCKETS:
        seen = f"{table.get('start')!r} to {table.get('end')!r}"
        faults.append(f"E006 segment.bucket is {seen}; write 0 <= start <= end <= {BUCKETS - 1}")
    return None if faults else Bucket(str(entity), str(salt), start, end)


def _number(table: Mapping[str, Any], key: str) -> int:
    """Return a bucket number; -1, which is in no range, for anything else."""
    value = table.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
