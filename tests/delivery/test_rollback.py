"""Rollbacks in real repositories. What is rolled back to is not verified again, so the images need not be there."""

import pytest
from config_repositories import edit, history, make_repository, message, named_image, show, tip

from loopline.components.delivery.promotion import promote
from loopline.components.delivery.release import Release, write_release_env
from loopline.components.delivery.rollback import rollback
from loopline.components.errors import InputError


@pytest.fixture
def bare(tmp_path):
    return make_repository(tmp_path)


def image(letter: str) -> str:
    return f"oci://registry.example.com/flights@sha256:{letter * 64}"


def name_image(bare, sites: str, letter: str) -> str:
    """Commit an image to sites as a promotion does."""
    release = Release("flights", ord(letter) - ord("a") + 1, image(letter))
    files = {f"sites/{site}/release.env": write_release_env("", release) for site in sites.split(",")}
    return edit(bare, files, f"Promote {letter}")


def test_rollback_of_a_real_promotion(bare, images):
    promote(str(bare), "edge,cloud", images.tested[1])
    before = show(bare, "sites/edge/release.env")
    promote(str(bare), "edge,cloud", images.tested[2])
    assert rollback(str(bare), "edge, cloud", reason="late flights\nmissed") == images.tested[1]
    assert show(bare, "sites/edge/release.env") == show(bare, "sites/cloud/release.env") == before
    assert message(bare) == (
        "Roll edge, cloud back to small-late version 1\n\nlate flights missed\n\nSites: edge, cloud.\n\n"
        f"Rolled-back: {images.tested[2]}\nModel: small-late\nModel-Version: 1\nImage: {images.tested[1]}"
    )
    assert len(history(bare)) == 4


def test_second_rollback_leaves_out_what_was_taken_away(bare):
    for letter in "abc":
        name_image(bare, "edge", letter)
    assert rollback(str(bare), "edge") == image("b")
    assert rollback(str(bare), "edge") == image("a")
    with pytest.raises(InputError, match="Site edge named no other image before flights version 1"):
        rollback(str(bare), "edge")
    assert named_image(bare, "edge") == image("a")


def test_image_promoted_again_after_its_rollback_counts_again(bare):
    for letter in "ab":
        name_image(bare, "edge", letter)
    rollback(str(bare), "edge")  # b is bad
    for letter in "bc":  # no, it was not
        name_image(bare, "edge", letter)
    assert rollback(str(bare), "edge") == image("b")


def test_rollback_to_one_site_says_nothing_of_another(bare):
    name_image(bare, "edge,cloud", "a")
    name_image(bare, "cloud", "b")
    name_image(bare, "cloud", "c")
    name_image(bare, "edge", "b")
    name_image(bare, "edge", "c")
    assert rollback(str(bare), "edge") == image("b")
    assert named_image(bare, "cloud") == image("c")
    assert rollback(str(bare), "cloud") == image("b")


def test_promotion_made_twice_is_one_step_back(bare):
    for letter in "abb":
        edit(bare, {"sites/cloud/x": letter})
        name_image(bare, "edge", letter)
    assert rollback(str(bare), "edge") == image("a")


def test_edit_by_hand_that_cannot_be_read_is_passed_over(bare):
    name_image(bare, "edge", "a")
    edit(bare, {"sites/edge/release.env": b"\xff<<<<"})
    name_image(bare, "edge", "b")
    assert rollback(str(bare), "edge") == image("a")


def test_other_lines_stay_as_they_are_now(bare):
    name_image(bare, "edge", "a")
    name_image(bare, "edge", "b")
    edit(bare, {"sites/edge/release.env": "# new\n" + show(bare, "sites/edge/release.env") + "NEW=1\n"})
    rollback(str(bare), "edge")
    assert show(bare, "sites/edge/release.env").startswith("# new\nMODEL_NAME=flights\nMODEL_VERSION=1\n")
    assert show(bare, "sites/edge/release.env").endswith("NEW=1\n")


def test_rollback_repeated_by_its_run_goes_back_once(bare):
    for letter in "abc":
        name_image(bare, "edge", letter)
    for _ in range(2):
        assert rollback(str(bare), "edge", pipeline_run="rollback-1") == image("b")
    assert len(history(bare)) == 5
    assert rollback(str(bare), "edge", pipeline_run="rollback-2") == image("a")


def test_sites_that_would_differ_are_refused(bare):
    name_image(bare, "edge", "a")
    name_image(bare, "cloud", "b")
    name_image(bare, "edge,cloud", "c")
    before = tip(bare)
    with pytest.raises(InputError, match=r"edge to flights version 1 .*; cloud to flights version 2 .*one by one"):
        rollback(str(bare), "edge,cloud")
    assert tip(bare) == before


def test_site_that_never_named_an_image_has_nothing_to_go_back_to(bare):
    with pytest.raises(InputError, match="Site edge named no other image before nothing"):
        rollback(str(bare), "edge")


def test_first_promotion_cannot_be_rolled_back(bare):
    name_image(bare, "edge", "a")
    with pytest.raises(InputError, match="there is nothing to go back to; promote one"):
        rollback(str(bare), "edge")


def test_no_site_and_unknown_site_are_refused(bare):
    with pytest.raises(InputError, match="name at least one"):
        rollback(str(bare), "")
    with pytest.raises(InputError, match="choose from cloud, datacenter, edge"):
        rollback(str(bare), "egde")
