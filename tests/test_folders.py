"""Commands that write files, where they cannot: one sentence and no traceback."""

import pytest

from loopline.pipelines.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ("compile", "--output"),
        ("compile", "--kubernetes", "--output"),
        ("elyra", "pipelines"),
        ("elyra", "install", "--output"),
    ],
)
def test_a_file_where_a_folder_is_to_be_is_said_in_one_sentence(words, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert main([*words, str(tmp_path / "taken")]) == 2
    said = capsys.readouterr().err
    assert "cannot be written (File exists): name another folder." in said and said.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "mine"
