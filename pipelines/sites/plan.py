"""What the configuration repository wants of a site."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """What a site is to serve, and how.

    Attributes:
        site: The site.
        model: The model's name.
        version: Its version.
        image: The image by digest; empty when nothing is promoted.
        url: Where the site answers.
        traffic_uri: Where its traffic log goes.
        traffic_sample: The share of requests in it, 0 to 1.
        problem: What is wrong with the site's files; the rest is then as it was before.
        commit: The commit that said so.
    """

    site: str
    model: str = ""
    version: str = ""
    image: str = ""
    url: str = ""
    traffic_uri: str = ""
    traffic_sample: str = "1"
    problem: str = field(default="", compare=False)
    commit: str = field(default="", compare=False)
