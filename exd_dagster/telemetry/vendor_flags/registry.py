"""The vendors whose exports are read, one line each, and how an export is recognised."""

from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.vendor_flags.model import Document, Reader
from exd_dagster.telemetry.vendor_flags.vendors import (
    eppo,
    flagd,
    growthbook,
    launchdarkly,
    optimizely,
    posthog,
    split,
    statsig,
    unleash,
)

READERS: dict[str, Reader] = {
    module.READER.name: module.READER
    for module in (growthbook, launchdarkly, unleash, posthog, statsig, eppo, optimizely, split, flagd)
}
"""Every reader by the name of its vendor."""


def reader_of(document: Document, vendor: str | None, where: str) -> Reader:
    """Return the reader of a document: that of `vendor`, else the one whose format it has.

    Args:
        document: one parsed file.
        vendor: name of the vendor; None: recognised from the content.
        where: the file, for messages.

    Raises:
        ConfigError: when the vendor is not known, the document is not of its form, or none or several fit.
    """
    if vendor is not None and vendor not in READERS:
        raise ConfigError("flags_from", [f"vendor: '{vendor}' is not known.{did_you_mean(vendor, READERS)}"])
    fitting = [reader for reader in READERS.values() if reader.fits(document)]
    if vendor is not None:
        wanted = READERS[vendor]
        if wanted in fitting:
            return wanted
        looks = f"; it looks like {' or '.join(one.name for one in fitting)}" if fitting else ""
        raise ConfigError(where, [f"is not an export of {vendor}: it needs {wanted.looks_like}{looks}"])
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(one.name for one in fitting)
        raise ConfigError(where, [f"looks like {names}; give one, for example vendor='{fitting[0].name}'"])
    forms = [f"{one.name}: {one.looks_like}" for one in READERS.values()]
    raise ConfigError(where, ["is of no known form; export the flags of one of these", *forms])
