"""A line is read up to the cursor as the shell reads it."""

import pytest

from kdlab.commands.completion.typed import split


@pytest.mark.parametrize(
    ("line", "words", "current", "kept"),
    [
        ("kdlab ", ["kdlab"], "", 0),
        ("kdlab ru", ["kdlab"], "ru", 0),
        ("kdlab run student=", ["kdlab", "run"], "student=", 8),
        ("kdlab run student=mlp,c", ["kdlab", "run"], "student=mlp,c", 8),
        ("kdlab run 'student=ml", ["kdlab", "run"], "student=ml", 0),
        ("kdlab run student='ml", ["kdlab", "run"], "student=ml", 8),
        ('kdlab run "a b" x', ["kdlab", "run", "a b"], "x", 0),
        ("kdlab run a\\ b", ["kdlab", "run"], "a b", 0),
        ("cd /x && OMP_NUM_THREADS=1 kdlab ru", ["kdlab"], "ru", 0),
        ("kdlab run note='' x", ["kdlab", "run", "note="], "x", 0),
        ("kdlab run '' x", ["kdlab", "run", ""], "x", 0),
        ("", [], "", 0),
    ],
)
def test_a_line_is_read_as_the_shell_reads_it(line, words, current, kept):
    assert split(line, breaks="\"'><=;|&(:") == (words, current, kept)
