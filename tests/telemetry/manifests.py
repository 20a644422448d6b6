"""Writes small manifest trees for the tests."""

from pathlib import Path


def flag(environments: str, variants: str = "on off") -> str:
    """One flag file with the given environment blocks."""
    declared = "\n".join(f'{variant} = "{variant}"' for variant in variants.split())
    return f'schema_version = "0.1"\n[flag]\ntype = "string"\n[flag.variants]\n{declared}\n{environments}\n'


def rules(*pairs: str, block: str = "_") -> str:
    """`[[...rules]]` tables from "segment -> variant" texts."""
    tables = []
    for pair in pairs:
        segment, variant = (part.strip() for part in pair.split("->"))
        tables.append(f'[[flag.environments.{block}.rules]]\nsegment = "{segment}"\nvariant = "{variant}"')
    return "\n".join(tables)


def segment(start: int, end: int, *, salt: str = "s", predicate: str = "", entity: str = "user.id") -> str:
    """One segment file with a bucket range, and a predicate where given."""
    lines = ['schema_version = "0.1"', "[segment]"]
    if predicate:
        lines += ["[segment.predicate]", predicate]
    lines += ["[segment.bucket]", f'entity_id_attribute = "{entity}"', f'salt = "{salt}"']
    return "\n".join([*lines, f"start = {start}", f"end = {end}"]) + "\n"


US = 'attribute = "user.country"\nop = "eq"\nvalue = "US"'


def write(root: Path, files: dict[str, str]) -> Path:
    """Write the files of one namespace under `root` and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def rollout(root: Path, end: int = 999, salt: str = "s") -> Path:
    """A flag `new-checkout` in namespace `root.name`: buckets 0..end get on, the rest off."""
    return write(
        root,
        {
            "flags/new-checkout.toml": flag(
                '[flag.environments._]\nvariant = "off"\n' + rules("early -> on")
            ),
            "segments/early.toml": segment(0, end, salt=salt),
        },
    )
