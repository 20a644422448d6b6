"""What a vendor's API answers, page by page, and the copies of it that are kept over time."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from exd_dagster.definitions.component.vendor_flags import VendorFlags
from exd_dagster.definitions.component.yaml import ENV_TEMPLATE
from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.vendor_flags.files import Copy, copies_of
from exd_dagster.telemetry.vendor_flags.model import Document
from exd_dagster.telemetry.vendor_flags.read import declarations

TIMEOUT = 30
"""Seconds for one answer."""

MOST_PAGES = 1000


def fetch(source: VendorFlags, now: datetime) -> list[Copy]:
    """Return what the API answers now, after the kept copies; keep it where it declares something new.

    Raises:
        ConfigError: when the API does not answer with flags, or an environment variable is not set.
    """
    answer = Copy(now.replace(microsecond=0), True, _pages(source))
    folder = Path(source.history) if source.history else None
    kept = copies_of(folder) if folder is not None and folder.is_dir() and any(folder.iterdir()) else []
    found = _declared(source, answer)
    if kept and _declared(source, kept[-1]) == found:
        return kept
    if folder is not None:
        _keep(folder, answer)
    return [*kept, answer]


def copies_as_json(copies: list[Copy]) -> list[Any]:
    """Return copies as JSON, for `copies_from_json`."""
    return [{"taken": copy.taken.isoformat(), "documents": dict(copy.documents)} for copy in copies]


def copies_from_json(copies: list[Any]) -> list[Copy]:
    """Return what `copies_as_json` wrote."""
    return [Copy(datetime.fromisoformat(copy["taken"]), True, copy["documents"]) for copy in copies]


def _declared(source: VendorFlags, copy: Copy) -> Mapping[str, Any]:
    """Return what a copy declares, without when anything else of a flag was changed."""
    found = declarations(copy, source.vendor, source.environment)
    return {key: replace(flag, changed=None) for key, flag in found.items()}


def _keep(folder: Path, copy: Copy) -> None:
    place = folder / f"{copy.taken.astimezone(timezone.utc):%Y-%m-%dT%H%M%SZ}"
    place.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(copy.documents.values()):
        text = json.dumps(document, indent=1, sort_keys=True)
        (place / f"page{number}.json").write_text(text, encoding="utf-8")


def _pages(source: VendorFlags) -> dict[str, Document]:
    """Ask for every page; a page is named by its number, an address may hold a secret."""
    headers = {name: _rendered(value) for name, value in source.headers.items()}
    url: str | None = _rendered(source.url or "")
    pages: dict[str, Document] = {}
    while url is not None and len(pages) < MOST_PAGES:
        document = _answer(url, headers)
        pages[f"page{len(pages)}.json"] = document
        url = _next(url, document)
    return pages


def _rendered(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ConfigError(
                "flags_from", [f"environment variable {name} is not set; set it for the refresh"]
            )
        return os.environ[name]

    return ENV_TEMPLATE.sub(value, text)


def _answer(url: str, headers: Mapping[str, str]) -> Document:
    import requests

    place = urlunsplit(urlsplit(url)._replace(query="", fragment=""))
    try:
        answer = requests.get(url, headers=dict(headers), timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.json()
    except requests.HTTPError:
        fix = "check the token and what it may read" if answer.status_code in (401, 403) else "check the url"
        raise ConfigError(f"flags of {place}", [f"the API answers {answer.status_code}; {fix}"]) from None
    except requests.exceptions.JSONDecodeError:
        raise ConfigError(f"flags of {place}", ["the answer is no JSON; check the url"]) from None
    except requests.RequestException as error:
        raise ConfigError(f"flags of {place}", [f"no answer ({type(error).__name__}); try again"]) from None


def _next(url: str, document: Document) -> str | None:
    """Return the address of the next page, as PostHog, LaunchDarkly, Statsig and GrowthBook name it."""
    if not isinstance(document, Mapping):
        return None
    links, pagination = document.get("_links") or {}, document.get("pagination") or {}
    found = document.get("next") or (links.get("next") or {}).get("href") or pagination.get("nextPage")
    if found is None and document.get("hasMore") and document.get("nextOffset") is not None:
        parts = urlsplit(url)
        query = {**dict(parse_qsl(parts.query)), "offset": str(document["nextOffset"])}
        found = urlunsplit(parts._replace(query=urlencode(query)))
    if not isinstance(found, str) or not found:
        return None
    following = urljoin(url, found)
    if urlsplit(following)[:2] != urlsplit(url)[:2]:
        host = urlsplit(following).netloc
        raise ConfigError("flags_from", [f"the next page is on another host, {host}; name that one as url"])
    return following
