"""What a feature of a flight means, in words."""

from loopline.examples.flights.app.flight import WEATHER, Flights

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WINDS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
_UNITS = {quantity.name: (quantity.label, quantity.unit) for quantity in WEATHER}


def describe(feature: str, value: str | float | None, flights: Flights) -> str:
    """Say what a feature's value means.

    Args:
        feature: The feature's name.
        value: What the model was told; None or empty when missing.
        flights: Where the names of airlines and airports are.

    Returns:
        A few words, such as "departs at 18:00"; name and value for a feature that this app does not know.
    """
    if value is None or value == "":
        return _describe_missing(feature)
    if feature in _TEXTS:
        return _TEXTS[feature](value, flights)
    if feature in _UNITS:
        label, unit = _UNITS[feature]
        return f"{label.lower()} {_number(value)}{'' if unit[0] in _TIGHT else ' '}{unit}"
    return f"{feature} {_number(value)}"


#: Units written without a space before them.
_TIGHT = "%\u00b0"
_TEXTS = {
    "carrier": lambda value, flights: f"flies with {flights.carriers.get(value, value)}",
    "origin": lambda value, flights: f"leaves from {_airport(value, flights)}",
    "dest": lambda value, flights: f"goes to {_airport(value, flights)}",
    "distance": lambda value, flights: f"flies {_number(value)} miles",
    "weekday": lambda value, flights: f"leaves on a {_DAYS[round(float(value)) - 1]}",
    "departure_minute": lambda value, flights: f"departs at {_clock(value)}",
    "arrival_minute": lambda value, flights: f"is due to arrive at {_clock(value)}",
    "precip": lambda value, flights: f"rain or snow {_number(value)} in" if float(value) else "no rain or snow",
    "wind_dir": lambda value, flights: f"wind from the {_WINDS[round(float(value) / 45) % 8]}",
    "wind_speed": lambda value, flights: f"wind {_number(value)} mph" if float(value) else "no wind",
    "wind_gust": lambda value, flights: f"gusts of {_number(value)} mph",
}


def _describe_missing(feature: str) -> str:
    # The stations report only strong gusts.
    if feature == "wind_gust":
        return "no strong gusts reported"
    return f"{_UNITS[feature][0].lower() if feature in _UNITS else feature} not known"


def _airport(code: str, flights: Flights) -> str:
    return f"{flights.airports[code]} ({code})" if code in flights.airports else code


def _clock(minute: float | str) -> str:
    minute = round(float(minute)) % 1440
    return f"{minute // 60:02}:{minute % 60:02}"


def _number(value: str | float) -> str:
    if isinstance(value, str):
        return value
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}".removesuffix(".0") if size >= 1 else f"{value:.2g}"
