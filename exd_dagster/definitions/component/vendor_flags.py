"""The flags of a vendor in YAML: from its export, or from its API by way of a component's state."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.config import ConfigModel, FlagAudit, Instant
from exd_dagster.telemetry.vendor_flags.files import Copy
from exd_dagster.telemetry.vendor_flags.model import Form
from exd_dagster.telemetry.vendor_flags.read import flags_from, flags_of

_SECRET = re.compile(r"auth|key|token|secret", re.IGNORECASE)


class VendorFlags(ConfigModel):
    """The flags that a vendor's export declares, or that its API returns."""

    path: str | dict[str | date | datetime, str | Path] | None = Field(
        default=None,
        description="A file, a folder of its parts, or copies kept over time: a folder whose names hold the "
        "instant of each, or {instant: path}.",
    )
    url: str | None = Field(
        default=None,
        description="Instead of path, in a StateBackedFlagAuditComponent: the request that lists the flags; "
        "further pages are followed.",
    )
    headers: dict[str, str] = Field(
        default={},
        description='Of the request. A secret is a template, such as "Bearer {{ env.TOKEN }}", and is read '
        "when the state is refreshed.",
    )
    history: str | None = Field(
        default=None,
        description="With url, a folder: a refresh that finds a changed declaration keeps a copy there, and "
        "copies make phases.",
    )
    vendor: str | None = Field(default=None, description="Left out: recognised from the content.")
    environment: str | None = Field(
        default=None, description="Name of the environment read, where the export holds several."
    )
    keys: tuple[str, ...] = Field(default=("*",), description="Globs of the flags wanted.")
    variants: Form | None = Field(
        default=None,
        description="What the records write for a variant; left out: what the vendor's own exposures write.",
    )
    start: Instant | None = Field(
        default=None,
        description="First instant counted (UTC); left out: when the first copy was made, or the flag was "
        "changed last.",
    )
    end: Instant | None = Field(default=None, description="First instant no longer counted (UTC).")
    namespace: str | None = Field(default=None, description="Namespace of every flag.")

    @field_validator("headers")
    @classmethod
    def _no_secret_is_written(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if _SECRET.search(name) and "{{" not in value:
                raise ValueError(f'{name}: a secret must not be written here; write "{{{{ env.NAME }}}}"')
        return headers

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("name either path or url")
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"url: {self.url!r} is not one; write https://...")
        if self.url is None and (self.headers or self.history):
            raise ValueError("headers and history belong to url")
        return self

    @property
    def options(self) -> Mapping[str, Any]:
        """Keyword arguments of `flags_from`."""
        names = ("vendor", "environment", "keys", "variants", "start", "end", "namespace")
        return {name: getattr(self, name) for name in names}

    def of_path(self) -> list[FlagAudit]:
        """Return the flags of a path; none for a url.

        Raises:
            ConfigError: when the export cannot be read.
        """
        return [] if self.path is None else flags_from(self.path, **self.options)

    def of_copies(self, copies: list[Copy]) -> list[FlagAudit]:
        """Return the flags of what was fetched.

        Raises:
            ConfigError: when an answer is of no known form.
        """
        return flags_of(copies, **self.options)
