"""The plugin that looks for passwords finds them, wherever they are shown."""

import pytest
from command_process import Running
from security_canary import CANARY, SecretShown

from rpcservice.testing.rabbitmq import PASSWORD_PREFIX, RabbitMQNode

SHOWN = f"{CANARY}1"

WAYS = {
    "print": f"print('{SHOWN}')",
    "standard error": f"print('{SHOWN}', file=sys.stderr)",
    "log": f"logging.warning('at %s', '{SHOWN}')",
    "traceback in the log": f"logging.warning('x', exc_info=ValueError('{SHOWN}'))",
    "warning": f"with pytest.warns(UserWarning): warnings.warn('x'); print('{SHOWN}')",
    "command": f"subprocess.run([sys.executable, '-c', 'print(\"{CANARY}\" \"1\")'], capture_output=True)",
    "exception": f"with pytest.raises(ValueError): raise ValueError('{SHOWN}')",
    "cause of an exception": f"with pytest.raises(ValueError): raise ValueError from KeyError('{SHOWN}')",
}


@pytest.mark.shows_secrets
@pytest.mark.parametrize("code", WAYS.values(), ids=WAYS.keys())
def test_a_test_that_shows_the_password_fails(pytester: pytest.Pytester, code: str) -> None:
    pytester.makepyfile(f"import logging, subprocess, sys, warnings, pytest\ndef test_it():\n    {code}")
    result = pytester.runpytest_inprocess("-p", "security_canary", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the broker's password stands in *"])


@pytest.mark.shows_secrets
def test_what_is_shown_in_a_fixture_counts_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"""
        import pytest
        @pytest.fixture
        def late():
            yield
            print("{SHOWN}")
        def test_it(late): pass
    """)
    result = pytester.runpytest_inprocess("-p", "security_canary", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)


@pytest.mark.shows_secrets
def test_a_test_may_say_that_it_shows_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.shows_secrets\ndef test_it():\n    print('{SHOWN}')")
    pytester.runpytest_inprocess("-p", "security_canary", "-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_command_that_stays_is_looked_at_in_the_end() -> None:
    running = Running(["echo", SHOWN])
    running.wait_for(SHOWN)
    with pytest.raises(SecretShown):
        running.close()


def test_both_kinds_of_brokers_have_such_a_password(broker_uri: str) -> None:
    assert PASSWORD_PREFIX == CANARY
    assert CANARY in broker_uri


@pytest.mark.broker
def test_the_nodes_of_the_suite_have_it(rabbitmq: RabbitMQNode) -> None:
    assert CANARY in rabbitmq.uri
