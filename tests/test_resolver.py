"""Resolver: names are looked up in real threads, while greenlets go on."""

import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from command_process import run_python
from waiting import wait_until

from rpcservice.concurrency import green
from rpcservice.concurrency.greenlets import GreenBackend
from rpcservice.concurrency.native import native
from rpcservice.concurrency.resolver import Resolver
from rpcservice.concurrency.threadpool import ThreadPool

LIMIT = 20
NAMES = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
NAME = "shop.example"


class SlowSystem:
    """Stands in for the system's resolver: it answers when it is told to."""

    def __init__(self) -> None:
        self.has_begun = native("threading").Event()
        self.answers = native("threading").Event()
        self.threads: list[int] = []

    def ask(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Wait for the answer, which is what was asked."""
        self.threads.append(native("threading").get_ident())
        self.has_begun.set()
        assert self.answers.wait(LIMIT)
        return (*args, *kwargs.items())

    def functions(self) -> SimpleNamespace:
        """Give a module with look-ups."""
        return SimpleNamespace(**{name: _named(name, self.ask) for name in NAMES})


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    call.__name__ = name
    return call


@pytest.fixture
def system() -> SlowSystem:
    return SlowSystem()


@pytest.fixture
def patched(system: SlowSystem) -> SimpleNamespace:
    """A module like ``socket``, with the resolver in it."""
    module = system.functions()
    Resolver().install(module)
    return module


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("getaddrinfo", (NAME, 80)),
        ("gethostbyname", (NAME,)),
        ("gethostbyname_ex", (NAME,)),
        ("gethostbyaddr", ("192.0.2.1",)),
        ("getnameinfo", (("192.0.2.1", 80), 0)),
    ],
)
def test_greenlets_go_on_while_a_name_is_looked_up(
    function: str, arguments: tuple[Any, ...], system: SlowSystem, patched: SimpleNamespace
) -> None:
    """Only another greenlet lets the system answer."""
    green().spawn(system.answers.set)
    assert getattr(patched, function)(*arguments) == arguments
    assert system.threads != [native("threading").get_ident()]


def test_look_ups_of_several_greenlets_leave_each_other_alone(system: SlowSystem, patched: SimpleNamespace) -> None:
    found: list[Any] = []
    tasks = [green().spawn(lambda name=name: found.append(patched.gethostbyname(name))) for name in ("one", "two")]
    wait_until(lambda: len(system.threads) == 2)
    system.answers.set()
    assert all(task.wait(LIMIT) for task in tasks)
    assert sorted(found) == [("one",), ("two",)]


def test_keywords_are_handed_on(system: SlowSystem, patched: SimpleNamespace) -> None:
    system.answers.set()
    assert patched.getaddrinfo(host=NAME, port=80) == (("host", NAME), ("port", 80))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("getaddrinfo", ("192.0.2.1", 80)),
        ("getaddrinfo", ("2001:db8::1", 80)),
        ("getaddrinfo", (None, 80)),
        ("gethostbyname", ("192.0.2.1",)),
        ("getnameinfo", (("192.0.2.1", 80), socket.NI_NUMERICHOST)),
    ],
)
def test_an_address_takes_no_thread(
    function: str, arguments: tuple[Any, ...], system: SlowSystem, patched: SimpleNamespace
) -> None:
    system.answers.set()
    getattr(patched, function)(*arguments)
    assert system.threads == [native("threading").get_ident()]


def test_another_thread_waits_itself(system: SlowSystem, patched: SimpleNamespace) -> None:
    threading = native("threading")
    system.answers.set()
    thread = threading.Thread(target=patched.gethostbyname, args=(NAME,))
    thread.start()
    thread.join(LIMIT)
    assert system.threads == [thread.ident]


def test_the_next_look_up_uses_the_same_thread(system: SlowSystem, patched: SimpleNamespace) -> None:
    system.answers.set()
    for _ in range(3):
        patched.gethostbyname(NAME)
    assert len(set(system.threads)) == 1


def test_a_thread_that_has_nothing_to_do_ends_and_the_next_look_up_starts_another(system: SlowSystem) -> None:
    module = system.functions()
    Resolver(idle_limit=0.05).install(module)
    system.answers.set()
    for _ in range(3):
        assert module.gethostbyname(NAME) == (NAME,)
        used = system.threads[-1]
        assert wait_until(lambda used=used: used not in resolver_threads(), "the end of the thread")


def test_a_thread_that_works_for_longer_than_it_may_be_idle_ends_nobodys_look_up(system: SlowSystem) -> None:
    module = system.functions()
    Resolver(idle_limit=0.001).install(module)
    green().call_later(0.05, system.answers.set)
    for number in range(50):
        assert module.gethostbyname(f"{number}.example") == (f"{number}.example",)
        green().sleep(number % 4 / 1000)


def test_a_look_up_that_comes_when_the_last_thread_is_about_to_end_has_another(
    system: SlowSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    retire = ThreadPool._retire

    def retire_and_ask(pool: Any, thread: Any) -> None:
        monkeypatch.undo()
        green().spawn(lambda: found.append(module.gethostbyname("next")))
        retire(pool, thread)

    monkeypatch.setattr("rpcservice.concurrency.resolver.THREADS", 1)
    monkeypatch.setattr(ThreadPool, "_retire", retire_and_ask)
    module = system.functions()
    Resolver(idle_limit=0.02).install(module)
    system.answers.set()
    module.gethostbyname(NAME)
    wait_until(lambda: found == [("next",)])


def test_the_threads_of_a_loop_that_was_replaced_end(
    system: SlowSystem, patched: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would tell them to later."""
    system.answers.set()
    patched.gethostbyname(NAME)
    first = next(one for one in native("threading").enumerate() if one.ident == system.threads[0])
    backend = GreenBackend()
    monkeypatch.setattr("rpcservice.concurrency.resolver.green", lambda: backend)
    patched.gethostbyname(NAME)
    assert wait_until(lambda: not first.is_alive(), "the end of the first thread")
    assert system.threads[1] in resolver_threads()


def test_the_threads_are_known_by_their_name(system: SlowSystem, patched: SimpleNamespace) -> None:
    system.answers.set()
    patched.gethostbyname(NAME)
    assert system.threads[0] in resolver_threads()


def resolver_threads() -> list[int]:
    """Give the idents of the threads that look names up."""
    return [one.ident for one in native("threading").enumerate() if one.name == "rpcservice-resolver"]


def test_nobody_is_told_of_an_answer_that_nobody_waits_for(
    system: SlowSystem, patched: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    task = green().spawn(patched.gethostbyname, NAME)
    while not system.has_begun.is_set():
        green().sleep(0.01)
    task.kill()
    system.answers.set()
    assert patched.gethostbyname("other.example") == ("other.example",)
    assert not caplog.records


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("nowhere.invalid", 80), socket.gaierror), ((5, 80), TypeError), (("x" * 64, 80), UnicodeError), ((), TypeError)],
)
def test_errors_are_the_systems(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    module = SimpleNamespace(**{name: getattr(native("socket"), name) for name in NAMES})
    with pytest.raises(error) as raised:
        module.getaddrinfo(*arguments)
    Resolver().install(module)
    with pytest.raises(error) as again:
        module.getaddrinfo(*arguments)
    assert (type(again.value), str(again.value)) == (type(raised.value), str(raised.value))


def test_the_functions_keep_their_names(patched: SimpleNamespace) -> None:
    assert [getattr(patched, name).__name__ for name in NAMES] == list(NAMES)


def test_a_child_that_was_forked_looks_names_up_itself() -> None:
    """It has none of its parent's threads."""
    code = (
        "from rpcservice.cli.patching import patch\npatch()\n"
        "import os, socket\nbefore = socket.gethostbyname('localhost')\nchild = os.fork()\n"
        "if child == 0:\n    os._exit(0 if socket.gethostbyname('localhost') == before else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    assert run_python(code, "-W", "ignore") == "0\n"
