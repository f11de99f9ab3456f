"""References to images: read and written the same, whatever the place is called."""

import pytest

from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, resolve
from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("tag", ["", "v1"])
@pytest.mark.parametrize("digest", ["", DIGEST])
@pytest.mark.parametrize(
    "place",
    [
        ("registry", "registry.example.com:5000", "team/flights"),
        ("registry", "[::1]:5000", "flights"),
        ("layout", "/models/flights"),
        ("layout", "/home/me@example.com/flights"),
        ("layout", "/models/flights@home"),
        ("layout", "/runs/12:30/flights"),
        ("layout", "/models/flights:new"),
        ("layout", "/models/a:b@c:d"),
        ("layout", f"/models/flights@{DIGEST}"),
    ],
    ids=lambda place: place[1],
)
def test_what_is_written_is_read_again(place, tag, digest):
    kind, location, repository = (*place, "")[:3]
    reference = ImageReference(kind, location, repository, tag, digest)
    assert ImageReference.parse(reference.uri) == reference
    assert ImageReference.parse(reference.at(DIGEST).uri) == ImageReference(kind, location, repository, "", DIGEST)


@pytest.mark.parametrize("name", ["late@home", "late:new", "a:b@c:d"])
def test_a_layout_may_be_called_anything(name, small_model, tmp_path):
    image = build_image(small_model, f"oci:{tmp_path}/{name}:v1", version=1)
    assert (tmp_path / name / "index.json").is_file()
    assert resolve(f"oci:{tmp_path}/{name}:v1") == image
    assert fetch_image(image, tmp_path / "fetched").version == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("docker://host/a@sha256:12", "malformed digest"),
        ("docker://host/a@b", "malformed digest"),
        ("oci:/models/a@sha256:12", "malformed digest"),
        (f"oci:/models/a@{DIGEST.upper().replace('SHA', 'sha')}", "malformed digest"),
        ("docker://[1:2]/a", "is not a reference"),
        ("docker://host:99999/a", "is not a reference"),
        ("docker://host/A", "is not a reference"),
        ("docker:///a", "is not a reference"),
        ("oci:/a:b c", "is not a reference"),
        ("oci:/models/a\nMODEL_NAME=b", "is not a reference"),
        ("oci:/", "is not a reference"),
        ("", "is not a reference"),
    ],
)
def test_what_is_no_reference_is_refused(text, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        ImageReference.parse(text)
    assert "\n" not in str(caught.value)
