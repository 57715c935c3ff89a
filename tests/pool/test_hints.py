"""Calls as they are written for other libraries: the message names what is meant."""

import pytest

from rxpool import WorkerPool
from rxpool.errors import InvalidArgumentType
from tests.ends.programs import run

OPERATORS = ["map", "outcomes", "map_batches", "switch_map", "exhaust_map"]


@pytest.mark.parametrize("name", OPERATORS)
def test_items_for_an_operator(name):
    """`imap` and `collect` are named, with the name of what was called."""
    with WorkerPool(1) as pool:
        with pytest.raises(
            InvalidArgumentType, match=rf"^{name}\(\) .* 2 arguments.*pool\.imap"
        ):
            getattr(pool, name)(len, ["a"])
        with pytest.raises(TypeError, match=r"pool\.collect"):
            getattr(pool, name)(len, ["a"], ["b"])


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("max_workers", "workers"),
        ("n_jobs", "workers"),
        ("processes", "workers=..., on='processes'"),
        ("executor", "on"),
        ("maxtasksperchild", "max_tasks_per_worker"),
        ("worker", "workers"),
        ("initialiser", "initializer"),
        ("max_pendng", "max_pending"),
    ],
)
def test_options_of_the_pool(option, meant):
    """By what others call it, or by what it looks like."""
    with pytest.raises(InvalidArgumentType) as caught:
        WorkerPool(**{option: 4})
    assert str(caught.value) == (
        f"WorkerPool() has no option {option!r}; did you mean {meant}?"
    )


def test_an_option_like_no_other():
    """Nothing is guessed."""
    with pytest.raises(InvalidArgumentType) as caught:
        WorkerPool(zzz=4)
    assert str(caught.value) == "WorkerPool() has no option 'zzz'"


@pytest.mark.parametrize(
    ("option", "meant"),
    [("max_workers", "concurrency"), ("retries", "retry"), ("timout", "timeout")],
)
@pytest.mark.parametrize("method", ["map", "imap", "collect", "worker"])
def test_options_of_flows(method, option, meant):
    """The same, behind the list of those that there are."""
    arguments = (len, []) if method in ("imap", "collect") else (len,)
    with WorkerPool(1) as pool, pytest.raises(InvalidArgumentType) as caught:
        getattr(pool, method)(*arguments, **{option: 4})
    assert str(caught.value).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize("option", ["retries", "rate_limit", "ordered"])
def test_what_a_flow_does_not_have_is_not_meant(option):
    """A hint would lead to the next error."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgumentType) as caught:
        pool.switch_map(len, **{option: 4})
    assert "did you mean" not in str(caught.value)


def test_a_place_for_the_number_of_workers():
    """The keyword is named."""
    with pytest.raises(InvalidArgumentType, match="did you mean on='processes'"):
        WorkerPool("processes")


UNGUARDED = """
    print("imported")

    from rxpool import WorkerPool

    def double(n):
        return 2 * n

    with WorkerPool({workers}, on="processes") as pool:
        print({what})
"""


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    "what", ["list(pool.imap(double, range(50)))", "pool.submit(double, 1).result()"]
)
def test_no_main_guard(tmp_path, workers, what):
    """One short message that says what to write, at once; nothing else from the workers."""
    ended = run(tmp_path, UNGUARDED.format(workers=workers, what=what))
    assert ended.code == 1
    assert set(ended.lines) == {"imported"}
    assert "put what it does under: if __name__ == '__main__':" in ended.err.splitlines()[-1]
    assert len(ended.err.splitlines()) < 30
    assert "bootstrapping" not in ended.err
    assert ended.left == ()


def test_a_pool_that_is_only_made_needs_no_guard(tmp_path):
    """Workers import that too, and nothing starts there."""
    text = """
        from rxpool import WorkerPool

        pool = WorkerPool(1, on="processes")

        def double(n):
            return 2 * n

        if __name__ == "__main__":
            print(pool.submit(double, 21).result())
            pool.close()
    """
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err) == (0, ["42"], "")
