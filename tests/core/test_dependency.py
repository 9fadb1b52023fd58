"""The dependencies that need nothing but the call itself."""

import pytest

from rpcservice import AuthToken, ContextDataProvider, DependencyProvider, Language, UserAgent, UserId
from rpcservice.testing import FakeHost


@pytest.mark.parametrize(
    ("provider", "key"),
    [(Language(), "language"), (UserId(), "user_id"), (UserAgent(), "user_agent"), (AuthToken(), "auth_token")],
)
def test_a_value_of_the_context_data_is_injected(host: FakeHost, provider: DependencyProvider, key: str) -> None:
    assert provider.get_dependency(host.context(context_data={key: "it", "other": "not"})) == "it"
    assert provider.get_dependency(host.context()) is None


def test_a_subclass_names_a_value_of_its_own(host: FakeHost) -> None:
    class Tenant(ContextDataProvider):
        context_key = "tenant"

    assert Tenant().get_dependency(host.context(context_data={"tenant": "acme"})) == "acme"


def test_without_a_key_there_is_no_value(host: FakeHost) -> None:
    assert ContextDataProvider().get_dependency(host.context(context_data={"tenant": "acme"})) is None
