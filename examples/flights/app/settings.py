"""What the environment tells the app."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from loopline.components.errors import InputError
from loopline.examples.flights.app.sites import NEAREST


@dataclass(frozen=True)
class Settings:
    """The app's settings.

    Attributes:
        services: Where the model server of each site answers, the nearest first.
        model: The model's name.
        host: The address to listen on.
        port: The port to listen on; 0 for any.
    """

    services: dict[str, str]
    model: str = "flights"
    host: str = "127.0.0.1"
    port: int = 8100


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        environment: ``LOOPLINE_SERVICES`` and, where the defaults do not fit, ``LOOPLINE_MODEL``, ``HOST``, ``PORT``.

    Returns:
        The settings.

    Raises:
        InputError: A variable is missing or cannot be used.
    """
    port = environment.get("PORT") or "8100"
    if not (port.isascii() and port.isdigit() and int(port[:6]) < 65_536):
        raise InputError(f"PORT is {port!r}: set it to a number from 0 to 65535.")
    return Settings(
        services=_read_services(environment.get("LOOPLINE_SERVICES") or ""),
        model=environment.get("LOOPLINE_MODEL") or Settings.model,
        host=environment.get("HOST") or Settings.host,
        port=int(port),
    )


def _read_services(text: str) -> dict[str, str]:
    example = 'set it to where each site answers, such as {"edge": "http://127.0.0.1:8080"}'
    if not text.strip():
        raise InputError(f"LOOPLINE_SERVICES is not set: {example}.")
    try:
        services = json.loads(text)
    except (ValueError, RecursionError):
        services = None
    if not isinstance(services, dict) or not services:
        raise InputError(f"LOOPLINE_SERVICES is not a JSON object of sites: {example}.")
    for site, url in services.items():
        # An address may hold a password: errors name the site alone.
        if site in ("", NEAREST) or not isinstance(url, str) or not _is_address(url):
            raise InputError(f"LOOPLINE_SERVICES gives site {site!r} no http or https address: {example}.")
    return services


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
