"""Tasks in worker processes that fork."""

import signal

from tests.ends.programs import run
from tests.ends.worker_programs import program

FORKS = """
    class Object:
        def __reduce__(self):
            note("pickled")
            return Object, ()


    def back(how):
        if how == "number":
            return 1
        if how == "text":
            return "x" * 100_000
        if how == "object":
            return Object()
        if how == "bytes":
            return bytearray(1_000_000)
        if how == "sys.exit":
            sys.exit(3)
        if how == "error":
            raise ValueError("of the child")
        if how == "observable":
            return rx.of(1, 2)
        if how == "coroutine":
            return later(1)


    async def later(value):
        return value


    def work(item):
        how = item if isinstance(item, str) else item[0]
        note(how)
        pid = os.fork()
        if pid == 0:
            return back(how)
        return how, exit_code(pid)


    async def coroutine(item):
        note(item)
        pid = os.fork()
        return Object() if pid == 0 else (item, exit_code(pid))


    def observable(item):
        def subscribe(observer, scheduler=None):
            pid = os.fork()
            observer.on_next(Object() if pid == 0 else (item, exit_code(pid)))
            observer.on_completed()

        note(item)
        return rx.create(subscribe)


    def unfinished(item):
        def subscribe(observer, scheduler=None):
            pid = os.fork()
            if pid:
                observer.on_next((item, exit_code(pid)))
                observer.on_completed()

        note(item)
        return rx.create(subscribe)
"""

WAYS = {
    "number": 0,
    "text": 0,
    "object": 0,
    "bytes": 0,
    "sys.exit": 3,
    "error": 1,
    "observable": 0,
    "coroutine": 0,
    "nothing": 0,
}


def test_a_child_that_comes_back_ends_there(tmp_path):
    """Whatever it comes back with: the item's result is the worker's, and it ran once."""
    text = """
        if __name__ == "__main__":
            ways = sys.argv[1:]
            items = [*ways, *((way,) for way in ways)]
            with WorkerPool(2, on="processes") as pool:
                print(sorted(pool.imap(work, items)))
            print(sorted(notes()) == sorted([*ways, *ways]))
    """
    ended = run(tmp_path, program(FORKS, text), *WAYS)
    assert ended.lines == [str(sorted([*WAYS.items(), *WAYS.items()])), "True"]
    assert (ended.code, ended.left) == (0, ())
    # It says what an error was, as any process does.
    assert ended.err.count("Traceback") == ended.err.count("ValueError: of the child") == 2


def test_a_child_of_work_that_ends_later(tmp_path):
    """It ends where its coroutine, or its Observable, would be the worker's."""
    text = """
        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                for work in (coroutine, observable, unfinished):
                    print(list(pool.imap(work, "abc", order="input")))
            print("".join(notes()))
    """
    ended = run(tmp_path, program(FORKS, text))
    assert ended.lines == ["[('a', 0), ('b', 0), ('c', 0)]"] * 3 + ["abcabcabc"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_a_child_of_an_initializer(tmp_path):
    """It is no second worker."""
    text = """
        def initialize(fails):
            pid = os.fork()
            if pid:
                note(exit_code(pid))
            elif fails:
                sys.exit(5)


        if __name__ == "__main__":
            for fails in (False, True):
                options = {"initializer": initialize, "initargs": (fails,)}
                with WorkerPool(1, on="processes", **options) as pool:
                    print(list(pool.imap(abs, [-1, -2], order="input")))
            print(notes())
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == ["[1, 2]", "[1, 2]", "['0', '5']"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_a_child_says_nothing_to_the_parent(tmp_path):
    """Progress goes nowhere, what is logged to standard error; the worker goes on as before."""
    text = """
        import logging, stat


        def work(item):
            task = current_task()
            pid = os.fork()
            if pid == 0:
                note(sum(map(is_socket, range(3, 64))))
                for _ in range(50):
                    task.progress(0.25)
                    current_task().progress(0.25)
                    logging.getLogger("child").warning("of the child")
                return
            for _ in range(50):
                task.progress(0.75)
                logging.getLogger("worker").warning("of the worker")
            return item, exit_code(pid)


        def is_socket(fd):
            try:
                return stat.S_ISSOCK(os.fstat(fd).st_mode)
            except OSError:
                return False


        class Counting(logging.Handler):
            found = []

            def emit(self, record):
                self.found.append(record.getMessage())


        if __name__ == "__main__":
            logging.getLogger().addHandler(Counting())
            told = []
            with WorkerPool(2, on="processes") as pool:
                pool.progress.subscribe(lambda progress: told.append(progress.fraction))
                print(sorted(pool.imap(work, range(20))))
            print(told == [0.75] * 1000, Counting.found == ["of the worker"] * 1000)
            print(set(notes()))
    """
    ended = run(tmp_path, program(text))
    assert ended.lines == [str([(n, 0) for n in range(20)]), "True True", "{'0'}"]
    assert ended.err == "of the child\n" * 1000
    assert (ended.code, ended.left) == (0, ())


def test_multiprocessing_within_a_task(tmp_path):
    """Processes of the task's own can be started, talked to, and ended as anywhere."""
    text = """
        import multiprocessing


        def child(conn):
            conn.send(os.getpid())
            time.sleep(60)


        def work(method):
            context = multiprocessing.get_context(method)
            ours, theirs = context.Pipe()
            process = context.Process(target=child, args=(theirs,))
            process.start()
            same = ours.recv() == process.pid
            process.terminate()
            process.join()
            for _ in range(20 if method == "fork" else 1):
                quick = context.Process(target=child, args=(theirs,))
                quick.start()
                quick.terminate()
                quick.join()
                assert quick.exitcode == process.exitcode
            return method, same, process.exitcode


        if __name__ == "__main__":
            with WorkerPool(1, on="processes") as pool:
                ways = ["fork", "spawn", "forkserver"]
                print(list(pool.imap(work, ways, order="input")))
    """
    ended = run(tmp_path, program(text))
    ways = ["fork", "spawn", "forkserver"]
    assert ended.lines == [str([(way, True, -signal.SIGTERM) for way in ways])]
    assert (ended.code, ended.err, ended.left) == (0, "", ())
