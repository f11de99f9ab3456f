"""Names and objects in the text of a parameter."""

import pytest

from loopline.components.arguments import convert_value
from loopline.components.errors import InputError
from loopline.components.parameters import join_names, split_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" , ", []),
        (' a, "b, c" ,d', ["a", "b, c", "d"]),
        ('" a ",b ', [" a ", "b"]),
        ('"say ""hi""",5" nail', ['say "hi"', '5" nail']),
        ('"two\nlines",stra\u00dfe', ["two\nlines", "stra\u00dfe"]),
    ],
)
def test_names_are_split_and_joined(text, names):
    assert split_names(text) == names
    assert split_names(join_names(names)) == names


def test_plain_names_are_joined_without_quotes():
    assert (
        join_names(["mean radius", "sepal length (cm)", "od280/od315"]) == "mean radius,sepal length (cm),od280/od315"
    )


def test_a_name_listed_twice_is_refused():
    with pytest.raises(InputError, match="'a' is listed twice"):
        split_names("a, b,a")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (["a", "b, c"], 'a,"b, c"'),
        ([], ""),
        ([{"max_depth": 4}], '[{"max_depth": 4}]'),
        ({"age": {"minimum": 0}}, '{"age": {"minimum": 0}}'),
        (2019, "2019"),
    ],
)
def test_what_a_file_of_parameters_holds_becomes_text(value, text):
    assert convert_value("x", "STRING", value) == text
