"""Steady load on a site, half of it on connections that are kept open, half on new ones."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_WORKERS = 10


@dataclass
class Load:
    """What a load saw.

    Attributes:
        digests: The image digest of each answer, in the order they came.
        failures: What went wrong, request by request.
    """

    digests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class SteadyLoad:
    """Some threads that each ask at a steady pace until the ``with`` block ends."""

    def __init__(self, url: str, model: str, request: dict, per_second: float):
        self.seen = Load()
        self._place, self._path = urlsplit(url).netloc, f"/v2/models/{model}/infer"
        self._body = json.dumps(request)
        self._pause = _WORKERS / per_second
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i % 2 == 0,)) for i in range(_WORKERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self.seen

    def __exit__(self, *_):
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        connection = http.client.HTTPConnection(self._place, timeout=15)
        due = time.monotonic()
        while not self._ending.is_set():
            if not keep:
                connection.close()
            try:
                connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    self.seen.digests.append(json.loads(body)["parameters"]["image_digest"])
                else:
                    self.seen.failures.append(f"{answer.status}: {body[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.seen.failures.append(f"{'kept' if keep else 'new'} connection: {error!r}")
                connection.close()
            due += self._pause
            self._ending.wait(max(0.0, due - time.monotonic()))
        connection.close()
