"""Reading a service class: what it declares, and what is wrong with it."""

from typing import Any

import pytest

from rpcservice import Config, DependencyProvider, Entrypoint
from rpcservice.core.service import is_service, method_signature, positional_range, read_service
from rpcservice.errors import DeclarationError

mark = Entrypoint.decorator


class Shop:
    name = "shop"
    config = Config()

    @mark
    def buy(self) -> None: ...

    def helper(self) -> None: ...


class NoName:
    @mark
    def method(self) -> None: ...


class EmptyName(NoName):
    name = ""


class NumberName(NoName):
    name = 7


class NoEntrypoint:
    name = "idle"


def test_a_service_class_is_read_once_and_whole() -> None:
    definition = read_service(Shop)
    assert (definition.cls, definition.name) == (Shop, "shop")
    assert [name for name, _ in definition.entrypoints] == ["buy"]
    assert [(name, type(dependency)) for name, dependency in definition.dependencies] == [("config", Config)]


@pytest.mark.parametrize("cls", [NoName, EmptyName])
def test_a_class_without_a_name_is_refused_by_its_place(cls: type) -> None:
    with pytest.raises(DeclarationError, match=rf"test_service\.{cls.__name__} has no service name; give the class"):
        read_service(cls)


def test_a_name_that_is_no_text_is_shown() -> None:
    with pytest.raises(DeclarationError, match=r"NumberName is named \d+, which is no text; give the class"):
        read_service(NumberName)


@pytest.mark.parametrize("candidate", [Shop(), "shop", None, len])
def test_what_is_no_class_is_refused(candidate: Any) -> None:
    with pytest.raises(DeclarationError, match="is not a class"):
        read_service(candidate)


def test_a_service_may_have_no_entrypoints_of_its_own() -> None:
    assert read_service(NoEntrypoint).entrypoints == ()


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [(Shop, True), (NoName, False), (NumberName, False), (NoEntrypoint, False), (Shop(), False), (7, False)],
)
def test_a_class_with_a_name_and_an_entrypoint_is_taken_for_a_service(candidate: object, expected: bool) -> None:
    assert is_service(candidate) is expected


def test_a_dependency_that_a_subclass_sets_to_none_is_gone() -> None:
    class Less(Shop):
        config = None

    assert read_service(Less).dependencies == ()


def test_a_dependency_of_a_subclass_replaces_the_inherited_one() -> None:
    class Other(DependencyProvider):
        """Another one."""

    class More(Shop):
        config = Other()

    ((_, dependency),) = read_service(More).dependencies
    assert type(dependency) is Other


@pytest.mark.parametrize("wild", ["*", "#", "shop.*", "#.eu"])
def test_a_name_that_stands_for_other_services_is_refused(wild: str) -> None:
    class Wild(Shop):
        name = wild

    with pytest.raises(DeclarationError, match="'\\*' and '#' cannot stand alone"):
        read_service(Wild)


def test_a_dependency_without_its_parentheses_is_refused() -> None:
    class Slip(Shop):
        config = Config

    with pytest.raises(DeclarationError, match=r"Slip\.config is the class Config; write config = Config\(\.\.\.\)"):
        read_service(Slip)


def test_a_service_may_define_its_dependency_within() -> None:
    class Nested(Shop):
        class Own(DependencyProvider):
            """Its own."""

        own = Own()

    assert [key for key, _ in read_service(Nested).dependencies] == ["config", "own"]


def test_a_signature_may_have_self_among_its_arguments() -> None:
    """Decorators that take anything give such methods."""

    class Service:
        def anything(*args: Any, **kwargs: Any) -> None:
            """Take anything."""

    signature = method_signature(Service, "anything")
    assert list(signature.parameters) == ["args", "kwargs"]
    assert positional_range(signature) == (0, 1 << 30)
