"""Entrypoints: what decorators leave on methods, and the check of arguments."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import Entrypoint, ServiceContainer
from rpcservice.core.entrypoint import DECLARATIONS
from rpcservice.errors import DeclarationError, IncorrectSignature


class Mark(Entrypoint):
    """Never fired."""

    def __init__(self, label: str = "bare", **options: Any) -> None:
        super().__init__(**options)
        self.label = label


mark = Mark.decorator


def declared(cls: type) -> list[tuple[str, str]]:
    """What a container finds: (method, label) pairs."""
    return [(entry.method_name, entry.label) for entry in ServiceContainer(cls).entrypoints]  # type: ignore[attr-defined]


def test_a_decorator_gives_the_function_itself() -> None:
    def method(self: object) -> None: ...

    assert mark(method) is method
    assert mark("called")(method) is method


def test_decorators_work_bare_and_called() -> None:
    class Service:
        name = "service"

        @mark
        def bare(self) -> None: ...

        @mark()
        def empty(self) -> None: ...

        @mark("given")
        def called(self) -> None: ...

    assert declared(Service) == [("bare", "bare"), ("called", "given"), ("empty", "bare")]


def test_static_and_class_methods_are_decorated_from_either_side() -> None:
    class Service:
        name = "service"

        @mark
        @staticmethod
        def outside_static() -> None: ...

        @staticmethod
        @mark
        def inside_static() -> None: ...

        @mark("given")
        @classmethod
        def outside_class(cls) -> None: ...

    assert declared(Service) == [("inside_static", "bare"), ("outside_class", "given"), ("outside_static", "bare")]


@pytest.mark.parametrize("target", [7, property(str), functools.partial(print)])
def test_what_is_no_method_is_refused(target: Any) -> None:
    """It would be no entrypoint, and nobody would be told."""
    with pytest.raises(DeclarationError, match=r"^@mark decorates a method, not "):
        mark()(target)


async def waiting(self: object) -> None: ...


async def streaming(self: object) -> Any:
    yield 1


@pytest.mark.parametrize("method", [waiting, streaming])
def test_an_async_method_is_refused(method: Any) -> None:
    """Nobody would await it, and an event would be taken for handled."""
    with pytest.raises(DeclarationError, match=r"^@mark of \w+: .*; write def, not async def$"):
        mark(method)


def test_wrong_options_are_refused_before_there_is_a_method() -> None:
    with pytest.raises(TypeError):
        mark("label", "another")


def test_decorators_stack() -> None:
    class Service:
        name = "service"

        @mark("outer")
        @mark("inner")
        def method(self) -> None: ...

    assert declared(Service) == [("method", "inner"), ("method", "outer")]


def test_declarations_are_inherited() -> None:
    class Base:
        @mark("base")
        def method(self) -> None: ...

    class Service(Base):
        name = "service"

        @mark("own")
        def own(self) -> None: ...

    assert declared(Service) == [("method", "base"), ("own", "own")]


def test_mixins_bring_their_entrypoints_and_dependencies() -> None:
    from rpcservice import Config

    class Mixin:
        config = Config()

        @mark("mixin")
        def mixed_in(self) -> None: ...

    class Service(Mixin):
        name = "service"

    assert declared(Service) == [("mixed_in", "mixin")]
    assert [dependency.attr_name for dependency in ServiceContainer(Service).dependencies] == ["config"]


def test_an_override_without_a_decorator_is_no_entrypoint() -> None:
    class Base:
        name = "service"

        @mark
        def method(self) -> None: ...

    class Service(Base):
        def method(self) -> None: ...

    assert declared(Service) == []


def test_a_wrapper_that_copies_attributes_does_not_double_declarations() -> None:
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    def method(self: object) -> None: ...

    mark("inner")(method)
    wrapped = mark("outer")(traced(method))
    assert [entry.label for entry in getattr(method, DECLARATIONS)] == ["inner"]
    assert [entry.label for entry in getattr(wrapped, DECLARATIONS)] == ["inner", "outer"]


def test_static_and_class_methods_may_be_entrypoints() -> None:
    class Service:
        name = "service"

        @staticmethod
        @mark
        def static(a: int) -> None: ...

        @classmethod
        @mark
        def of_class(cls, a: int, b: int) -> None: ...

    of_class, static = ServiceContainer(Service).entrypoints
    assert (list(static.method_signature.parameters), list(of_class.method_signature.parameters)) == (["a"], ["a", "b"])


@pytest.mark.parametrize("given", [KeyError, (KeyError,), (KeyError, ValueError)])
def test_expected_exceptions_may_be_one_or_several(given: Any) -> None:
    entrypoint = Entrypoint(expected_exceptions=given)
    assert entrypoint.is_expected(KeyError())
    assert not entrypoint.is_expected(OSError())


@pytest.mark.parametrize(("given", "kept"), [("password", ("password",)), (("a", "b.c"), ("a", "b.c")), ((), ())])
def test_sensitive_arguments_may_be_one_or_several(given: Any, kept: tuple[str, ...]) -> None:
    assert Entrypoint(sensitive_arguments=given).sensitive_arguments == kept


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_concurrency_without_workers_is_refused(concurrency: int) -> None:
    with pytest.raises(ValueError, match=rf"concurrency={concurrency}: give the number of workers, 1 or more, or None"):
        Entrypoint(concurrency=concurrency)


class Checked:
    name = "checked"

    @mark
    def plain(self, a: int, b: int = 2) -> None: ...

    @mark
    def keyword(self, a: int, *, b: int) -> None: ...

    @mark
    def any(self, *args: int, **kwargs: int) -> None: ...

    @mark
    def positional(self, a: int, /) -> None: ...


@pytest.fixture(scope="module")
def checked() -> dict[str, Entrypoint]:
    return {entry.method_name: entry for entry in ServiceContainer(Checked).entrypoints}


@pytest.mark.parametrize(
    ("method", "args", "kwargs"),
    [
        ("plain", (1,), {}),
        ("plain", (1, 2), {}),
        ("plain", (), {"a": 1}),
        ("plain", (1,), {"b": 2}),
        ("keyword", (1,), {"b": 2}),
        ("any", (), {}),
        ("any", (1, 2, 3), {"x": 1}),
        ("positional", (1,), {}),
    ],
)
def test_arguments_that_fit_pass(
    checked: dict[str, Entrypoint], method: str, args: tuple[int, ...], kwargs: dict[str, Any]
) -> None:
    checked[method].check_signature(args, kwargs)
    getattr(Checked(), method)(*args, **kwargs)


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "text"),
    [
        ("plain", (), {}, "missing a required argument: 'a'"),
        ("plain", (1, 2, 3), {}, "too many positional arguments"),
        ("plain", (1,), {"a": 1}, "multiple values for argument 'a'"),
        ("plain", (1,), {"c": 1}, "got an unexpected keyword argument 'c'"),
        ("keyword", (1,), {}, "missing a required.* argument: 'b'"),
        ("positional", (), {"a": 1}, "'a'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    checked: dict[str, Entrypoint], method: str, args: tuple[int, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(IncorrectSignature, match=rf"^{method}\(.*\): .*{text}"):
        checked[method].check_signature(args, kwargs)
    with pytest.raises(TypeError):
        getattr(Checked(), method)(*args, **kwargs)


def test_an_entrypoint_says_what_fires_its_method(checked: dict[str, Entrypoint]) -> None:
    assert checked["plain"].describe() == "mark plain"


@pytest.mark.parametrize("given", [KeyError, (KeyError,), [KeyError], {KeyError}])
def test_expected_exceptions_are_a_class_or_several(given: Any) -> None:
    assert Mark(expected_exceptions=given).is_expected(KeyError("k"))


@pytest.mark.parametrize("given", ["KeyError", KeyError("k"), [dict], None])
def test_expected_exceptions_that_are_none_are_refused_at_the_declaration(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^expected_exceptions=.*: give an exception class, or a tuple of them$"):
        Mark(expected_exceptions=given)
