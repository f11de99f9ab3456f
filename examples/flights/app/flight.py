"""The flights the app offers, and the check of a flight that a person made of one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from loopline.components.errors import InputError


@dataclass(frozen=True)
class Quantity:
    """A number that describes a flight.

    Attributes:
        name: The feature's name.
        label: What a person calls it.
        unit: What it is measured in.
        minimum: The smallest value taken.
        maximum: The largest value taken.
        whole: Whether it has no fraction.
        required: Whether a flight must have it.
    """

    name: str
    label: str
    unit: str
    minimum: float
    maximum: float
    whole: bool = False
    required: bool = False


WEATHER = (
    Quantity("temp", "Temperature", "\u00b0F", -60, 130),
    Quantity("dewp", "Dew point", "\u00b0F", -80, 100),
    Quantity("humid", "Humidity", "%", 0, 100),
    Quantity("precip", "Rain or snow", "in", 0, 10),
    Quantity("visib", "Visibility", "mi", 0, 100),
    Quantity("wind_speed", "Wind", "mph", 0, 200),
    Quantity("wind_gust", "Gusts", "mph", 0, 250),
    Quantity("wind_dir", "Wind from", "\u00b0", 0, 360),
    Quantity("pressure", "Pressure", "mbar", 850, 1100),
)
_SCHEDULE = (
    Quantity("weekday", "Weekday", "", 1, 7, whole=True, required=True),
    Quantity("departure_minute", "Departure", "minutes after midnight", 0, 1439, whole=True, required=True),
    Quantity("arrival_minute", "Arrival", "minutes after midnight", 0, 1439, whole=True),
    Quantity("distance", "Distance", "mi", 1, 10_000),
)
_PLACES = {"carrier": "carriers", "origin": "routes", "dest": "airports"}


class Flights:
    """The sample of real flights with the airlines, airports and routes to choose from."""

    @cached_property
    def _sample(self) -> dict:
        return json.loads(Path(__file__).with_name("sample.json").read_text(encoding="ascii"))

    @property
    def carriers(self) -> dict[str, str]:
        """Names of the airlines by code."""
        return self._sample["carriers"]

    @property
    def airports(self) -> dict[str, str]:
        """Names of the airports by code."""
        return self._sample["airports"]

    def choices(self) -> dict:
        """Return what the form offers: ``carriers``, ``airports``, ``routes`` and ``weather``."""
        offered = {name: self._sample[name] for name in ("carriers", "airports", "routes")}
        return {**offered, "weather": [asdict(quantity) for quantity in WEATHER]}

    def find(self, limit: str = "", **wanted: str) -> list[dict]:
        """Find flights of the sample.

        Args:
            limit: The most to return; empty for all.
            wanted: ``carrier``, ``origin`` and ``dest`` they must have; empty for any.

        Returns:
            ``number``, ``date``, ``flight`` (the features) and ``arrival_delay`` (minutes) of each.

        Raises:
            InputError: The limit is not a number, or a code is unknown.
        """
        if limit and not (limit.isascii() and limit.isdigit()):
            raise InputError(f"The limit {_show(limit)} is not a whole number: leave it out or give one, such as 10.")
        wanted = {name: self._read_code(name, code) for name, code in wanted.items() if code}
        found = [
            entry
            for entry in self._sample["flights"]
            if all(entry["flight"][name] == code for name, code in wanted.items())
        ]
        return found[: int(limit[:6])] if limit else found

    def read(self, values) -> dict[str, str | float | None]:
        """Check a flight and fill in what follows from its route.

        Args:
            values: By name ``carrier``, ``origin``, ``dest``, ``weekday`` (1 is Monday) and ``departure_minute``;
                where they are known the weather, ``distance`` and ``arrival_minute``. Missing numbers are None or
                left out.

        Returns:
            All of them; distance and arrival are those of the route where they were missing.

        Raises:
            InputError: A value is missing, unknown or impossible.
        """
        if not isinstance(values, Mapping):
            raise InputError("The flight is not a JSON object: send its values by name.")
        quantities = (*_SCHEDULE, *WEATHER)
        known = [*_PLACES, *(quantity.name for quantity in quantities)]
        for name in values:
            if name not in known:
                raise InputError(f"A flight has no value {_show(name)}: it may have {', '.join(known)}.")
        flight = {name: self._read_code(name, values.get(name)) for name in _PLACES}
        flight |= {quantity.name: _read_number(quantity, values.get(quantity.name)) for quantity in quantities}
        return self._complete(flight)

    def _read_code(self, name: str, code) -> str:
        if not isinstance(code, str) or code not in self._sample[_PLACES[name]]:
            some = ", ".join(list(self._sample[_PLACES[name]])[:3])
            raise InputError(f"There is no {name} {_show(code)}: use a code such as {some}.")
        return code

    def _complete(self, flight: dict) -> dict:
        if flight["distance"] is None or flight["arrival_minute"] is None:
            route = self._sample["routes"][flight["origin"]].get(flight["dest"])
            if route is None:
                raise InputError(
                    f"No flight went from {flight['origin']} to {flight['dest']}: choose another destination, or give "
                    "distance and arrival_minute."
                )
            usual = {"distance": route[0], "arrival_minute": (flight["departure_minute"] + route[1]) % 1440}
            flight |= {name: value for name, value in usual.items() if flight[name] is None}
        return flight


def _read_number(quantity: Quantity, value) -> float | None:
    if value is None:
        if quantity.required:
            raise InputError(f"The flight's {quantity.name} is missing: give {_describe_range(quantity)}.")
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN is within no range.
    if not number or not quantity.minimum <= value <= quantity.maximum or (quantity.whole and value != int(value)):
        raise InputError(f"{quantity.label} cannot be {_show(value)}: give {_describe_range(quantity)}.")
    return value


def _describe_range(quantity: Quantity) -> str:
    unit = "" if not quantity.unit else f" {quantity.unit}"
    return f"a {'whole ' if quantity.whole else ''}number from {quantity.minimum} to {quantity.maximum}{unit}"


def _show(value) -> str:
    """Write a value for an error message: short, and in letters that any answer can hold."""
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
