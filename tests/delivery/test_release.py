import pytest

from loopline.components.delivery.release import Release, read_release_env, read_site_env, write_release_env
from loopline.components.errors import InputError

IMAGE = "oci://registry.example.com/models/flights@sha256:" + "a" * 64


def test_release_survives_writing_and_reading():
    release = Release("flights", 3, IMAGE)
    assert read_release_env(write_release_env("", release)) == release


def test_other_lines_and_comments_stay_as_they_are():
    text = "# by hand\n\nMODEL_NAME=old\nREPLICAS=3\nMODEL_VERSION=1\n  MODEL_IMAGE=\n# end"
    written = write_release_env(text, Release("flights", 3, IMAGE))
    assert written == f"# by hand\n\nMODEL_NAME=flights\nREPLICAS=3\nMODEL_VERSION=3\nMODEL_IMAGE={IMAGE}\n# end"
    assert write_release_env(written, Release("flights", 3, IMAGE)) == written


def test_missing_lines_are_added_after_a_last_line_without_an_end():
    written = write_release_env("REPLICAS=3", Release("flights", 3, IMAGE))
    assert written == f"REPLICAS=3\nMODEL_NAME=flights\nMODEL_VERSION=3\nMODEL_IMAGE={IMAGE}\n"


def test_line_ends_of_windows_stay():
    written = write_release_env("MODEL_NAME=\r\nMODEL_VERSION=\r\nX=1\r\n", Release("flights", 3, IMAGE))
    assert written == f"MODEL_NAME=flights\r\nMODEL_VERSION=3\r\nX=1\r\nMODEL_IMAGE={IMAGE}\r\n"
    assert read_release_env(written) == Release("flights", 3, IMAGE)


def test_backslash_in_a_name_is_a_backslash():
    assert read_release_env(write_release_env("MODEL_NAME=\n", Release(r"a\1b", 1, IMAGE))).name == r"a\1b"


def test_nothing_promoted_is_an_empty_release():
    assert read_release_env("MODEL_NAME=\nMODEL_VERSION=\nMODEL_IMAGE=\n") == Release()
    assert write_release_env("", Release()) == "MODEL_NAME=\nMODEL_VERSION=\nMODEL_IMAGE=\n"
    assert str(Release()) == "nothing"


def test_value_may_hold_equals_signs():
    assert read_site_env("SERVICE_URL=http://x/?a=b\n") == {"SERVICE_URL": "http://x/?a=b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MODEL_NAME", "Line 1 is 'MODEL_NAME'"),
        ("# x\n\n<<<<<<< HEAD\n", "Line 3 is '<<<<<<< HEAD'"),
        ("A=1\nA=2\n", "sets A a second time"),
        ("MODEL_VERSION=three\n", "MODEL_VERSION is 'three'"),
        ("MODEL_IMAGE=oci://host/name:latest\n", "which may change"),
        ("MODEL_IMAGE=flights\n", "is not a reference"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(text, said):
    with pytest.raises(InputError, match=said) as error:
        read_release_env(text)
    assert "\n" not in str(error.value)


def test_name_of_two_lines_is_refused():
    with pytest.raises(InputError, match="does not fit into one line"):
        write_release_env("", Release("a\nMODEL_IMAGE=evil", 1, IMAGE))
