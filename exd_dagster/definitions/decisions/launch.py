"""Launch the job that records a decision through Dagster's own GraphQL, with a person's own permission."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exd_dagster.alerts.channels.guard import redact
from exd_dagster.errors import DeliveryError

if TYPE_CHECKING:
    from dagster_graphql import DagsterGraphQLClient

INSTALL = "dagster-graphql is not installed; run: pip install 'exd-dagster[slack]'"
REPOSITORY = "__repository__"
"""What Dagster calls the one repository of a code location made of Definitions."""
_POLL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A person at one Dagster webserver.

    Attributes:
        url: address of the webserver.
        headers: by which the webserver, or the proxy before it, knows the person; they hold secrets.
        timeout: seconds of one request.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: int = 20

    def launch(
        self, location: str, job: str, op: str, config: Mapping[str, str], tags: Mapping[str, str]
    ) -> str:
        """Launch the job and return the id of its run.

        Args:
            location: code location of the job.
            job: its name.
            op: its op.
            config: of the op.
            tags: of the run.

        Raises:
            DeliveryError: when Dagster does not let the person, refuses the config, or cannot be reached.
        """
        from dagster_graphql import DagsterGraphQLClientError

        client, known = self._client(), (location, REPOSITORY)
        for place in (known, (None, None)):  # the second error: a location that is not made of Definitions
            try:
                return str(
                    client.submit_job_execution(
                        job,
                        repository_location_name=place[0],
                        repository_name=place[1],
                        run_config={"ops": {op: {"config": dict(config)}}},
                        tags=dict(tags),
                    )
                )
            except DagsterGraphQLClientError as error:
                if place != known or not str(error.args[0]).endswith("NotFoundError"):
                    raise DeliveryError(self._why(error, job)) from None
        raise DeliveryError(f"Dagster does not know {job}.")

    def outcome(self, run_id: str, seconds: float = 60) -> str:
        """Wait for a run and return its status, as "SUCCESS"; the last one seen when the time is over.

        Raises:
            DeliveryError: when Dagster cannot be asked.
        """
        from dagster_graphql import DagsterGraphQLClientError

        client, ends = self._client(), time.monotonic() + seconds
        try:
            while True:
                status = client.get_run_status(run_id).value
                if status in ("SUCCESS", "FAILURE", "CANCELED") or time.monotonic() > ends:
                    return str(status)
                time.sleep(_POLL)
        except DagsterGraphQLClientError as error:
            raise DeliveryError(self._why(error, run_id)) from None

    def _client(self) -> "DagsterGraphQLClient":
        try:
            from dagster_graphql import DagsterGraphQLClient
        except ImportError:
            raise DeliveryError(INSTALL) from None
        parts = urlsplit(self.url)
        return DagsterGraphQLClient(
            parts.netloc + parts.path.rstrip("/"),
            use_https=parts.scheme == "https",
            timeout=self.timeout,
            headers=dict(self.headers),
        )

    def _why(self, error: Exception, what: str) -> str:
        """Say what Dagster refused: its own text may hold the whole query."""
        name, *more = map(str, error.args)
        code = getattr(error.__cause__, "code", None)
        hidden = [self.url, *self.headers.values()]
        if name == "UnauthorizedError" or code in (401, 403):
            return f"Dagster does not let you launch {what}."
        if name.endswith("NotFoundError"):
            return f"Dagster does not know {what}; is its code location loaded?"
        if more:
            return f"Dagster refused {what}: {redact(f'{name}: {more[0]}', hidden, 300)}"
        cause = error.__cause__ or error
        return f"Dagster cannot be asked: {redact(f'{type(cause).__name__}: {cause}', hidden, 200)}"
