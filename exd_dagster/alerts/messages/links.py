"""Addresses of pages in the Dagster UI, built from our own base address only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import quote, urlsplit


def base_url_faults(base_url: str | None) -> list[str]:
    """Return what is wrong with an address of the Dagster UI; none of "" and None, which mean no links."""
    if not base_url:
        return []
    try:
        parts = urlsplit(base_url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    fix = "write the address of the Dagster UI, such as https://dagster.example.com"
    return [] if known else [f"base_url: '{base_url}' is no URL; {fix}"]


@dataclass(frozen=True, slots=True)
class Links:
    """Builds addresses under the base address of the Dagster UI; without one there are no links.

    Attributes:
        base_url: for example "https://dagster.example.com"; "" for none.
        grain: whether a partition of the bins is an hour or a day.
    """

    base_url: str = ""
    grain: Literal["hour", "day"] = "hour"

    def of(
        self, asset: Sequence[str], check: str, hour: datetime | None = None, run_id: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """Return links to the check, the first bad partition and the run, as (label, address).

        Args:
            asset: path of the asset the check belongs to.
            check: name of the check.
            hour: first hour at fault (UTC).
            run_id: the Dagster run.
        """
        if not self.base_url or not asset:
            return ()
        page = self._page(asset)
        links = [("Check", self.check(asset, check))]
        if hour is not None:
            key = quote(hour.strftime("%Y-%m-%d-%H:%M" if self.grain == "hour" else "%Y-%m-%d"), safe="")
            links.append((f"First bad {self.grain}", f"{page}?view=partitions&partition={key}"))
        if run_id:
            links.append(("Run", f"{self.base_url.rstrip('/')}/runs/{quote(run_id, safe='')}"))
        return tuple(links)

    def check(self, asset: Sequence[str], check: str) -> str:
        """Return the address of a check's page; without a base address, the path below it."""
        return f"{self._page(asset)}?view=checks&checkDetail={quote(check, safe='')}"

    def _page(self, asset: Sequence[str]) -> str:
        return f"{self.base_url.rstrip('/')}/assets/" + "/".join(quote(part, safe="") for part in asset)

    def overview(self) -> tuple[tuple[str, str], ...]:
        """Return the link to all assets."""
        return (("All assets", f"{self.base_url.rstrip('/')}/assets"),) if self.base_url else ()
