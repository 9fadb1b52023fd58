import logging
from pathlib import Path
from typing import Any

import pytest

from rpcservice.config import (
    KEYS,
    Settings,
    hide_password,
    is_service_file,
    load_config,
    make_settings,
)
from rpcservice.errors import ConfigError
from rpcservice.kinds import parse_address

ROOT = Path(__file__).parent.parent


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_config(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


# Values of every key

GOOD = {
    "AMQP_URI": "amqp://me:secret@one:5672/v;amqps://two",
    "AMQP_SSL": {"ca_certs": "ca.pem", "cert_reqs": "required"},
    "LOGIN_METHOD": "EXTERNAL",
    "HEARTBEAT": 5,
    "TRANSPORT_OPTIONS": {"max_retries": 1},
    "PREFETCH_COUNT": 20,
    "link": "channel",
    "publish_connection": "dedicated",
    "rpc_exchange": "my-rpc",
    "AUTO_DELETE_EVENT_EXCHANGES": True,
    "DECLARE_EVENT_EXCHANGES": False,
    "queue_type": "quorum",
    "delivery_limit": 3,
    "consumer_timeout": None,
    "serializer": "mine",
    "ACCEPT": ["mine", "json"],
    "SERIALIZERS": {"mine": {"encoder": "m.dumps", "decoder": "m.loads", "content_type": "x/m"}},
    "fast_json": False,
    "SERVICE_CONTAINER_CLS": "shop.containers.Audited",
    "max_workers": 3,
    "parent_calls_tracked": 0,
    "rpc_timeout": None,
    "clock_skew": 0,
    "publish_timeout": 1.5,
    "publish_buffer": 1,
    "max_message_size": 1000,
    "send_traceback": True,
    "startup_timeout": None,
    "shutdown_timeout": 0,
    "sql_databases": {"default": "sqlite:///shop.db"},
    "idempotency_store": "redis://localhost/0",
    "idempotency_ttl": 60,
    "idempotency_lease": 0.5,
    "idempotency_max_result": 0,
    "blocked_loop_warning": 0.5,
    "WEB_SERVER_ADDRESS": "[::1]:0",
    "health_address": "127.0.0.1:9000",
    "http_max_header_size": 512,
    "http_max_body_size": 0,
    "http_header_timeout": 1,
    "http_body_timeout": 2,
    "http_max_connections": 1,
    "http_keep_alive": 0,
    "http_queue_timeout": 0,
    "websocket_path": "/socket",
    "websocket_origins": ["https://shop.example"],
    "websocket_ping_interval": 0,
    "websocket_max_message_size": 1,
    "websocket_send_buffer": 1,
    "websocket_compression": False,
    "websocket_broadcast": "process",
    "workers": "auto",
    "log_format": "json",
    "LOGGING": {"version": 1},
    "services": ["shop.orders", "shop/products.py:Products"],
    "strict_config": True,
}

WRONG = [
    ("AMQP_URI", "localhost"),
    ("AMQP_URI", "redis://localhost"),
    ("AMQP_URI", "amqp://localhost:many"),
    ("AMQP_URI", "amqp://localhost:99999"),
    ("AMQP_URI", "amqp://localhost;"),
    ("AMQP_URI", "memory://;amqp://localhost"),
    ("AMQP_URI", 5672),
    ("AMQP_SSL", "yes"),
    ("LOGIN_METHOD", "plain"),
    ("HEARTBEAT", -1),
    ("HEARTBEAT", "60"),
    ("HEARTBEAT", float("nan")),
    ("TRANSPORT_OPTIONS", ["max_retries"]),
    ("PREFETCH_COUNT", 70_000),
    ("link", "kombu"),
    ("publish_connection", True),
    ("rpc_exchange", ""),
    ("AUTO_DELETE_EVENT_EXCHANGES", "no"),
    ("DECLARE_EVENT_EXCHANGES", 0),
    ("serializer", None),
    ("ACCEPT", "json"),
    ("ACCEPT", [1]),
    ("SERIALIZERS", {"mine": {"encoder": "m.dumps"}}),
    ("SERIALIZERS", {"mine": {"encoder": "m.dumps", "decoder": "loads"}}),
    ("SERIALIZERS", {"mine": {"encoder": "m.dumps", "decoder": "m.loads", "mime": "x/m"}}),
    ("SERIALIZERS", ["mine"]),
    ("fast_json", "auto"),
    ("SERVICE_CONTAINER_CLS", "Audited"),
    ("SERVICE_CONTAINER_CLS", 7),
    ("max_workers", 0),
    ("max_workers", "10"),
    ("max_workers", 2.0),
    ("max_workers", True),
    ("max_workers", None),
    ("parent_calls_tracked", -1),
    ("rpc_timeout", 0),
    ("clock_skew", -1),
    ("queue_type", "mirrored"),
    ("delivery_limit", 0),
    ("consumer_timeout", 0),
    ("rpc_timeout", True),
    ("publish_timeout", None),
    ("publish_buffer", 0),
    ("max_message_size", 0),
    ("send_traceback", "true"),
    ("startup_timeout", -1),
    ("shutdown_timeout", -1),
    ("sql_databases", "sqlite:///shop.db"),
    ("sql_databases", {"default": None}),
    ("sql_databases", {1: "sqlite:///shop.db"}),
    ("sql_databases", {"default": "shop.db"}),
    ("idempotency_store", "mysql://localhost/shop"),
    ("idempotency_store", "memory:///"),
    ("idempotency_store", ""),
    ("idempotency_ttl", 0),
    ("idempotency_lease", 0),
    ("idempotency_max_result", -1),
    ("blocked_loop_warning", -1),
    ("WEB_SERVER_ADDRESS", "eighty"),
    ("WEB_SERVER_ADDRESS", "::1:80"),
    ("WEB_SERVER_ADDRESS", 70_000),
    ("WEB_SERVER_ADDRESS", True),
    ("health_address", "here"),
    ("http_max_header_size", 10),
    ("http_max_body_size", -1),
    ("http_header_timeout", 0),
    ("http_body_timeout", float("inf")),
    ("http_max_connections", 0),
    ("http_keep_alive", -1),
    ("http_queue_timeout", None),
    ("websocket_path", "ws"),
    ("websocket_origins", "https://shop.example"),
    ("websocket_ping_interval", -1),
    ("websocket_max_message_size", 0),
    ("websocket_send_buffer", 0),
    ("websocket_compression", "yes"),
    ("websocket_broadcast", "all"),
    ("workers", 0),
    ("workers", 513),
    ("workers", "2"),
    ("workers", True),
    ("log_format", "xml"),
    ("LOGGING", "INFO"),
    ("services", "shop.orders"),
    ("services", [None]),
    ("strict_config", "on"),
]


def test_the_examples_cover_every_key() -> None:
    names = {key.name for key in KEYS}
    assert set(GOOD) == names
    assert {name for name, _ in WRONG} == names


@pytest.mark.parametrize("name", GOOD)
def test_a_good_value_reaches_its_field(name: str) -> None:
    settings = make_settings({name: GOOD[name]})
    value = getattr(settings, next(key.attribute for key in KEYS if key.name == name))
    assert (list(value) if isinstance(value, tuple) else value) == GOOD[name]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_names_source_and_key_and_mend(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings({name: value}, "conf/my.yaml")
    message = str(caught.value)
    assert message.startswith(f"conf/my.yaml: {name} ")
    assert "; give " in message
    assert "\n" not in message


def test_the_message_shows_the_wrong_value_and_what_is_allowed() -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings({"max_workers": "ten"}, "config.yaml")
    assert str(caught.value) == "config.yaml: max_workers is 'ten'; give a whole number from 1 on"


def test_a_long_wrong_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings({"max_workers": "x" * 5000})
    assert len(str(caught.value)) < 400


def test_every_key_has_a_field_and_every_field_a_key() -> None:
    assert {key.attribute for key in KEYS} == set(Settings.__dataclass_fields__) - {"raw"}


def test_every_default_is_allowed_by_its_own_check() -> None:
    for key in KEYS:
        key.kind.check(key.default)


def test_every_key_has_a_meaning_that_is_a_sentence() -> None:
    for key in KEYS:
        assert key.meaning[0].isupper() and key.meaning.endswith("."), key.name


def test_nothing_given_is_all_defaults() -> None:
    assert make_settings({}) == Settings()


def test_settings_are_given_back_as_they_are() -> None:
    settings = Settings(max_workers=2)
    assert make_settings(settings) is settings


def test_other_transports_are_allowed_on_kombus_channels() -> None:
    assert make_settings({"AMQP_URI": "redis://localhost", "link": "channel"}).amqp_uri == "redis://localhost"


def test_a_port_alone_may_be_a_number() -> None:
    assert make_settings({"WEB_SERVER_ADDRESS": 8080}).web_server_address == "8080"


@pytest.mark.parametrize("name", ["AMQP_URI", "ACCEPT", "SERIALIZERS", "TRANSPORT_OPTIONS", "services"])
def test_an_empty_value_is_the_default(name: str) -> None:
    key = next(key for key in KEYS if key.name == name)
    assert getattr(make_settings({name: None}), key.attribute) == key.default


# Free keys, slips, raw


def test_raw_is_the_whole_mapping_as_given() -> None:
    given = {"max_workers": 2, "DB": {"url": "sqlite://"}}
    settings = make_settings(given)
    given["late"] = 1
    assert settings.raw == {"max_workers": 2, "DB": {"url": "sqlite://"}}


def test_raw_is_read_only() -> None:
    with pytest.raises(TypeError):
        make_settings({}).raw["x"] = 1  # type: ignore[index]  # that is the point


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("AMQP_URL", "AMQP_URI"),
        ("max_worker", "max_workers"),
        ("amqp_uri", "AMQP_URI"),
        ("RPC_TIMEOUT", "rpc_timeout"),
        ("rpc-timeout", "rpc_timeout"),
        ("SERIALIZER", "serializer"),
        ("WEB_SERVER_ADRESS", "WEB_SERVER_ADDRESS"),
        ("heartbeats", "HEARTBEAT"),
        ("parent_call_tracked", "parent_calls_tracked"),
    ],
)
def test_a_near_miss_warns_with_the_right_name(slip: str, meant: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_settings({slip: "x"}, "config.yaml")
    assert [record.getMessage() for record in caplog.records] == [
        f"config.yaml: {slip} is no known key; is {meant} meant?"
    ]


@pytest.mark.parametrize(
    "name", ["DB_URIS", "smtp_timeout", "AMQP_USER", "log_level", "timeout", "workers", "http_port"]
)
def test_keys_of_services_are_free(name: str) -> None:
    assert make_settings({name: 1, "strict_config": True}).raw[name] == 1


def test_keys_that_are_no_text_are_free() -> None:
    assert make_settings({1: "one", "strict_config": True}).raw[1] == "one"  # type: ignore[dict-item,index]


def test_a_near_miss_is_an_error_in_a_strict_configuration() -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: AMQP_URL is no known key; is AMQP_URI meant\?"):
        make_settings({"AMQP_URL": "amqp://x", "strict_config": True}, "config.yaml")


# Passwords


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("amqp://me:secret@host/v", "amqp://me:***@host/v"),
        ("amqp://me:s:e@c/r@host/v", "amqp://me:***@host/v"),
        ("amqp://a:1@one;amqp://b:2@two", "amqp://a:***@one;amqp://b:***@two"),
        ("amqp://host:5672/v", "amqp://host:5672/v"),
        ("me:secret@host", "me:***@host"),
        ("memory://", "memory://"),
    ],
)
def test_hide_password(uri: str, shown: str) -> None:
    assert hide_password(uri) == shown


@pytest.mark.parametrize("uri", ["me:secret@host", "amqp://me:secret@host:many", ["amqp://me:secret@host"]])
def test_no_message_shows_a_password(uri: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings({"AMQP_URI": uri})
    assert "secret" not in str(caught.value)


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8000", ("0.0.0.0", 8000)),
        (":8000", ("0.0.0.0", 8000)),
        ("0.0.0.0:8000", ("0.0.0.0", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_parse_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "eighty", "host:", "host:-1", "host:65536", "::1:80", "[::1]", "host:80x", "host:٣"]
)
def test_parse_address_refuses(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address; give"):
        parse_address(text)


@pytest.mark.parametrize(
    ("target", "is_file"),
    [("shop.orders", False), ("shop.orders:Orders", False), ("orders.py", True), ("a/orders.py:Orders", True)],
)
def test_is_service_file(target: str, is_file: bool) -> None:
    assert is_service_file(target) is is_file


# Files


def test_load_config_reads_a_file(write: Any) -> None:
    assert load_config(write("max_workers: 4\n")).max_workers == 4


def test_load_config_without_a_file_is_all_defaults() -> None:
    assert load_config(None) == Settings()


def test_an_empty_file_is_all_defaults(write: Any) -> None:
    assert load_config(write("# nothing yet\n")) == Settings()


def test_defines_win_over_the_file(write: Any) -> None:
    settings = load_config(write("max_workers: 4\n"), [("max_workers", 5), ("color", "red")])
    assert (settings.max_workers, settings.raw["color"]) == (5, "red")


def test_a_wrong_define_is_told_from_a_wrong_line_in_the_file(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"^command line: max_workers is 0"):
        load_config(write("max_workers: 4\n"), [("max_workers", 0)])


def test_service_files_are_relative_to_the_configuration(write: Any) -> None:
    path = write("services: [shop.orders, shop/products.py, shop/a.py:A, /srv/b.py]\n")
    here = path.parent
    assert load_config(path).services == ("shop.orders", f"{here}/shop/products.py", f"{here}/shop/a.py:A", "/srv/b.py")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        load_config(tmp_path / "none.yaml")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read: .*utf-8"):
        load_config(path)


def test_a_file_that_is_no_mapping_is_refused(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: holds a list; give a mapping"):
        load_config(write("- a\n"))


def test_broken_yaml_names_file_and_line(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml, line 2: mapping values are not allowed here") as caught:
        load_config(write("a: 1\nb: c: d\n"))
    assert "\n" not in str(caught.value)


def test_a_character_that_yaml_refuses_is_a_config_error(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: is no valid YAML: unacceptable character"):
        load_config(write("a: \x01\n"))


def test_python_objects_are_not_built(write: Any) -> None:
    with pytest.raises(ConfigError, match="line 1: could not determine a constructor"):
        load_config(write("a: !!python/object/apply:os.getcwd []\n"))


def test_the_shipped_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AMQP_URI", "WEB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    settings = load_config(ROOT / "config.yaml")
    assert (settings.amqp_uri, settings.web_server_address) == ("memory://", "0.0.0.0:8000")
    assert settings.strict_config
    shop = [f"{ROOT}/docs/examples/shop/{name}.py" for name in ("orders", "products", "notifications")]
    assert list(settings.services) == [f"{ROOT}/docs/examples/hello.py", *shop]


def test_the_shipped_configuration_takes_the_broker_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URI", "amqp://me:secret@broker")
    assert load_config(ROOT / "config.yaml").amqp_uri == "amqp://me:secret@broker"


def test_the_shipped_configuration_shows_every_key() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert [key.name for key in KEYS if f"\n{key.name}:" not in text and f"\n# {key.name}:" not in text] == []


@pytest.mark.parametrize("config", [5, ["AMQP_URI"], "memory://"])
def test_a_configuration_that_is_no_mapping_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match="give a mapping from keys to values"):
        make_settings(config)
