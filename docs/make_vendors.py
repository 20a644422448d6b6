"""Write docs/vendors.md from the presets.

python -m docs.make_vendors
"""

from collections.abc import Iterator
from pathlib import Path

from exd_dagster.telemetry.preset import EVERY_KIND, Preset, presets, read_preset
from exd_dagster.telemetry.vendor_flags.registry import READERS

PAGE = Path(__file__).with_name("vendors.md")
OWN = "exd"
FORMATS = {"statsig": "parquet", "split": "parquet", "launchdarkly-warehouse": "parquet"}
"""Whose export comes as Parquet rather than as lines of JSON."""

VENDORS = {"opentelemetry": "flagd", "opentelemetry-otlp": "flagd"}
"""Whose definitions of flags go with an export, where the name does not say so."""

INTRODUCTION = """\
# Vendors and SDKs

What a flag vendor or SDK writes is read by its **preset**: where time, flag, variant and unit stand, which
rows are exposures, which say that nobody was assigned. This page is made from the presets by
`python -m docs.make_vendors`.

- `exd-dagster init 'export/*.ndjson'` recognises the export and says by what. If two fit, it asks;
  `--preset NAME` answers.
- `preset="posthog"` on any source of [records](records.md): files, tables, DataFrames,
  [engines](engines.md); `preset: posthog` in YAML; `--preset posthog` for `exd-dagster telemetry`;
  `LiveMonitor(df, preset="posthog")`; `variant_bins(..., preset="posthog")`.
- `columns=`, `constants=` and `where=` on top go before the preset's own. `unit="account"` chooses the
  randomized unit if the export names several.
- Rows that say that nobody was assigned have the reason `not_assigned`: they are counted separately and are
  no arm. `exclude_reasons=` of a flag decides otherwise.
- Before anything is counted, up to 1,000 rows of 5 files are looked at. A wrong preset, an export that
  changed and a mix of two are errors, which name the missing field and the preset that fits.
- Another export: name its columns or paths yourself ([records](records.md#the-columns)), or
  [add a preset](../CONTRIBUTING.md#adding-a-preset). `init` finds most fields by their names and values.
- The whole project is then `exd.build_flag_audit_defs(flags, records=records, store=store)`, as in the
  [quickstart](quickstart.md).

Splits, coverage and phases come from the vendor too: [flags from the vendor](vendor-flags.md). The checks are
the same for all: SRM with looks paid for, a sequential test, traffic. Where a vendor has a check of its own,
its section says how it differs.
"""


def page() -> str:
    """Return the page."""
    listed = [read_preset(name) for name in presets() if name != OWN]
    index = "\n".join(f"| [{p.title}](#{_anchor(p)}) | `{p.name}` | {p.export} |" for p in listed)
    table = f"| vendor | preset | export |\n|---|---|---|\n{index}\n"
    return "\n".join([INTRODUCTION, table, *("\n".join(_section(preset)) for preset in listed)])


def _heading(preset: Preset) -> str:
    return f"{preset.title}: {preset.name}"


def _anchor(preset: Preset) -> str:
    kept = "".join(sign for sign in _heading(preset).lower() if sign.isalnum() or sign in "-_ ")
    return kept.replace(" ", "-")


def _section(preset: Preset) -> Iterator[str]:
    ending = FORMATS.get(preset.name, "ndjson")
    source = "ParquetRecords" if ending == "parquet" else "FileRecords"
    yield f"## {_heading(preset)}\n"
    page = f"<{preset.page}>" if preset.page.startswith("https://") else f"the {preset.page}"
    yield f"Export: {preset.export}. Read from {page} on {preset.read}.\n"
    yield f'''```python
import exd_dagster as exd

records = exd.{source}(path="export/*.{ending}", preset="{preset.name}")
```
'''
    yield _flags(preset)
    yield "| | |\n|---|---|"
    yield f"| flag | {_paths(preset, 'flag_key')} |"
    yield f"| variant | {_paths(preset, 'variant_key')} |"
    yield f"| time | {_paths(preset, 'timestamp')} |"
    yield f"| units | {', '.join(_units(preset))} |"
    if preset.where:
        yield f"| counted | rows with {_told(preset.where)} |"
    if preset.unit_where:
        yield f"| counted | rows with {_told(preset.unit_where)} |"
    if preset.not_assigned:
        named = (f"{name}: {', '.join(map(_value, values))}" for name, values in preset.not_assigned.items())
        yield f"| not assigned | {'; '.join(named)} |"
    if preset.dimensions:
        yield f"| dimensions | {', '.join(f'`{name}`' for name in preset.dimensions)} |"
    yield ""
    if preset.srm:
        yield f"Its own check: {preset.srm}\n"
    yield from (f"- {caveat}" for caveat in preset.caveats)
    yield from (f"- Not confirmed: {point}" for point in preset.unconfirmed)
    yield ""


def _flags(preset: Preset) -> str:
    """Return how the flags' definitions come to the audit."""
    vendor = VENDORS.get(preset.name, preset.name.split("-")[0])
    if vendor not in READERS:
        return "Declare its flags with `FlagAudit`: no export of their definitions is read.\n"
    call = f'`exd.flags_from("flags.json", vendor="{vendor}")`'
    page = "[flags from the vendor](vendor-flags.md)"
    whose = "Its flags" if vendor in preset.name else f"Its flags, where {vendor} evaluates them"
    return f"{whose}: {call} reads {READERS[vendor].looks_like}; {page}.\n"


def _paths(preset: Preset, name: str) -> str:
    own = preset.mapped().get(name, ())
    shown = ", else ".join(f"`{path}`" for path in own[:4])
    return shown + (f" and {len(own) - 4} more" if len(own) > 4 else "")


def _units(preset: Preset) -> Iterator[str]:
    for name in preset.units:
        first = preset.unit_paths(None if name == EVERY_KIND else name)[0]
        yield "`unit=` any other kind" if name == EVERY_KIND else f"`{name}` (`{first}`)"


def _told(where: dict[str, str]) -> str:
    return ", ".join(f"`{path}` {_values(values)}" for path, values in where.items())


def _values(values: str) -> str:
    return "there" if values == "*" else "= " + " or ".join(map(_value, values.split("|")))


def _value(value: str) -> str:
    return f"`{value}`" if value else "none"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
