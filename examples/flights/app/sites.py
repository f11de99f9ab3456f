"""All the sites that serve the model: which of them answers, and with what."""

import asyncio
import logging
import time
from collections.abc import Mapping

from loopline.components.errors import InputError
from loopline.examples.flights.app.service import Model, Prediction, Service, SiteError

logger = logging.getLogger("loopline")
#: What a person chooses who does not mind which site answers.
NEAREST = "nearest"
#: Seconds that a look at the sites is good for, however many pages ask.
_FRESH_S = 1.0


class Sites:
    """The sites by name, the nearest first. Make it and close it in a running event loop.

    Args:
        services: Where each site answers.
        model: The model's name.
    """

    def __init__(self, services: Mapping[str, str], model: str):
        self._services = {site: Service(site, url, model) for site, url in services.items()}
        #: Why a site did not answer the last time it was asked; empty when it did.
        self._failures = dict.fromkeys(services, "")
        self._look = asyncio.Lock()
        self._looked, self._seen = float("-inf"), []

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(service.close() for service in self._services.values()))

    async def predict(self, site: str, flight: Mapping) -> tuple[str, Prediction, list[str]]:
        """Predict a flight at a site.

        Args:
            site: The site's name, or ``NEAREST`` for the first one that answers.
            flight: The flight's values by name.

        Returns:
            The site that answered, its answer, and why the sites before it did not.

        Raises:
            InputError: There is no such site.
            SiteError: The site, or with ``NEAREST`` every one, gave no answer.
        """
        failures = []
        for name in self._order(site):
            try:
                prediction = await self._services[name].predict(flight)
            except SiteError as error:
                self._note(name, str(error))
                failures.append(str(error))
            else:
                self._note(name, "")
                return name, prediction, failures
        raise SiteError(failures[0] if len(failures) == 1 else f"No site answers: {' '.join(failures)}")

    async def look(self) -> list[dict]:
        """Look which model is at each site.

        Returns:
            In order of nearness ``site``, ``ready``, ``reason`` (why it is not) and, where it is ready, ``model_name``,
            ``model_version``, ``model_digest`` and ``image_digest``.
        """
        async with self._look:
            if time.monotonic() - self._looked > _FRESH_S:
                self._seen = await asyncio.gather(*(self._look_at(name) for name in self._services))
                self._looked = time.monotonic()
            return self._seen

    async def _look_at(self, name: str) -> dict:
        try:
            model: Model = await self._services[name].describe()
        except SiteError as error:
            self._note(name, str(error))
            return {"site": name, "ready": False, "reason": str(error)}
        self._note(name, "")
        return {
            "site": name,
            "ready": True,
            "reason": "",
            "model_name": model.name,
            "model_version": model.version,
            "model_digest": model.model_digest,
            "image_digest": model.image_digest,
        }

    def _order(self, site: str) -> list[str]:
        if site == NEAREST:
            # One that just failed may hang: it is asked last. Sorting keeps the order otherwise.
            return sorted(self._services, key=lambda name: bool(self._failures[name]))
        if site not in self._services:
            shown = ascii(site)[:40]
            raise InputError(f"There is no site {shown}: choose {', '.join(self._services)} or {NEAREST}.")
        return [site]

    def _note(self, name: str, failure: str) -> None:
        if failure and not self._failures[name]:
            logger.warning("%s", failure)
        elif self._failures[name] and not failure:
            logger.info("%s answers again", name)
        self._failures[name] = failure
