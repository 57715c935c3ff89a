"""Programs that fork, in which nothing is to be wrong."""

import textwrap

from tests.ends.programs import run


def good(folder, text, **options):
    """Run a program in which nothing is wrong; nobody prints anything or leaves anything."""
    head = "from tests.ends.forked import *\nfrom tests.ends import forked_inside\n"
    body = textwrap.indent(textwrap.dedent(text), "    ")
    ended = run(
        folder, f"{head}\nif __name__ == '__main__':\n{body}\n    print('good')", **options
    )
    assert (ended.out, ended.err, ended.code, ended.left) == ("good\n", "", 0, ())
