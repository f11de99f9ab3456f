"""Model images on this machine's disk: fetched and verified in the background, each once for all sites."""

import logging
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")


class Fetch:
    """An image on its way.

    Attributes:
        image: The image by digest.
        done: Set once it is there, or cannot be had.
        model: The verified model directory, once it is there.
        problem: Why it cannot be had.
    """

    def __init__(self, image: str, folder: Path):
        """Begin to fetch.

        Args:
            image: The image by digest.
            folder: Where images lie.
        """
        self.image = image
        self.done = threading.Event()
        self.model = Path()
        self.problem = ""
        # A daemon: to end the agent must not wait for a slow registry.
        threading.Thread(target=self._run, args=(image, folder), name="fetch", daemon=True).start()

    def _run(self, image: str, folder: Path) -> None:
        from loopline.components.delivery.fetch import fetch_image

        try:
            digest = ImageReference.parse(image).digest
            if not digest:
                raise InputError(f"Image {image!r} is not named by digest: promote it with promote_to_site.")
            self.model = fetch_image(image, folder / digest.replace(":", "-"), tested=True).folder
        except (InputError, OSError) as error:
            self.problem = str(error)
        except Exception as error:  # whatever is wrong with one image, the sites go on with what they have
            logger.exception("%s cannot be fetched", image)
            self.problem = f"Image {image} cannot be fetched ({type(error).__name__}): see `loopline sites logs agent`."
        finally:
            self.done.set()


class Images:
    """The images on disk."""

    def __init__(self, folder: Path):
        """Keep images in a folder.

        Args:
            folder: The folder.
        """
        self._folder = folder
        self._fetches: dict[str, Fetch] = {}

    def fetch(self, image: str) -> Fetch:
        """Return the fetch of an image: the one under way or, when it was not successful, a new one."""
        fetch = self._fetches.get(image)
        if fetch is None or (fetch.done.is_set() and fetch.problem):
            fetch = self._fetches[image] = Fetch(image, self._folder)
        return fetch

    def prune(self, keep: Iterable[str]) -> bool:
        """Delete the images that no site serves, wants or would return to.

        Args:
            keep: The others.

        Returns:
            Whether it was done: not while an image is on its way.
        """
        kept = set(keep)
        for image in [image for image, fetch in self._fetches.items() if fetch.done.is_set() and image not in kept]:
            del self._fetches[image]
        if any(not fetch.done.is_set() for fetch in self._fetches.values()):
            return False  # it may be writing there
        names = {image.rpartition("@")[2].replace(":", "-") for image in (*self._fetches, *kept)}
        for folder in self._folder.glob("*"):
            if folder.name not in names:
                logger.info("deleting %s: no site needs it", folder.name)
                shutil.rmtree(folder, ignore_errors=True)
        return True
