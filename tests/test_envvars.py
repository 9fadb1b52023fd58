from pathlib import Path

import pytest
import yaml

from rpcservice.envvars import load, substitute
from rpcservice.errors import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """N is 5, S is text, E is empty; X and Y are not set."""
    for name in ("X", "Y"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"N": "5", "S": "text", "E": ""}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("yaml_text", "value"),
    [
        # What a variable holds is parsed as YAML.
        ("${N}", 5),
        ("${S}", "text"),
        # Text around it, or several of them.
        ("x${N}y", "x5y"),
        ("pre ${S} mid ${N}", "pre text mid 5"),
        ("${N}${N}", 55),
        ("${N}.5", 5.5),
        # Defaults hold for what is not set; what is set but empty stays so.
        ("${X:default}", "default"),
        ("${X:7}", 7),
        ("${X:true}", True),
        ("${N:6}", 5),
        ("${E:default}", None),
        ("${X:0.0.0.0:8000}", "0.0.0.0:8000"),
        ("${X:amqp://me:secret@host}", "amqp://me:secret@host"),
        # Neither set nor default.
        ("${X}", None),
        ("${X:}", None),
        ("a${X}b", "ab"),
        # Bash's :- means nothing here.
        ("${S:-q}", "text"),
        ("${X:-q}", "-q"),
        ("${X:-1}", -1),
        # Quoted and block scalars stay.
        ('"${N}"', "${N}"),
        ("'${N}'", "${N}"),
        ("|\n ${N}\n", "${N}\n"),
        (">\n ${N}\n", "${N}\n"),
        # Tags reach into them.
        ('!env_var "${N}"', 5),
        ("!env_var '${X:0123}'", 83),
        ('!env_var "x${N}"', "x5"),
        ('!env_var "plain"', "plain"),
        ('!env_var "5"', "5"),
        ('!raw_env_var "${X:0123}"', "0123"),
        ('!raw_env_var "${N}"', "5"),
        ('!raw_env_var "${X}"', ""),
        ("[!env_var '${N}', 6]", [5, 6]),
        # Defaults in defaults, and with braces.
        ("${X:${Y:z}}", "z"),
        ("${X:${N}}", 5),
        ("${X:${Y:${S}}}", "text"),
        ("${X:a${N}b${Y:c}}", "a5bc"),
        ("${X:http://{path}}", "http://{path}"),
        ("${X:http://{path}/{id}}/end", "http://{path}/{id}/end"),
        ('!env_var "${X:{a: 1}}"', {"a": 1}),
        ("${X:[1, 2]}", [1, 2]),
        # No such form.
        ("${ S }", "${ S }"),
        ("$S", "$S"),
        ("${}", "${}"),
        ("${S", "${S"),
        ("$${N}", "$5"),
        # Keys.
        ("${S}: ${N}", {"text": 5}),
        ("a${N}: 1", {"a5": 1}),
    ],
)
def test_variables_follow_namekos_rules(yaml_text: str, value: object) -> None:
    loaded = load(yaml_text)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("held", "value"), [("[1, two]", [1, "two"]), ("{a: 1}", {"a": 1}), ("yes", True), ("'5'", "5"), ("null", None)]
)
def test_the_value_of_a_variable_is_parsed_as_yaml(held: str, value: object, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("X", held)
    assert load("a: ${X}") == {"a": value}


def test_a_variable_that_holds_a_variable_is_replaced_once_more(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("X", "n is ${N}")
    assert load("${X}") == "n is 5"


def test_a_raw_variable_is_replaced_once_only(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("X", "${N}")
    assert load('!raw_env_var "${X}"') == "${N}"


@pytest.mark.parametrize("flow", ["[${N}]", "{b: ${N}}"])
def test_variables_in_flow_style_are_an_error_that_tells_the_mend(flow: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"first: 1\na: {flow}\n", source="config.yaml")
    assert str(caught.value).startswith("config.yaml, line 2: ")
    assert str(caught.value).endswith(
        'inside [...] and {...} write !env_var "${NAME}", or put each item on a line of its own'
    )


def test_other_yaml_errors_do_not_talk_of_variables() -> None:
    with pytest.raises(ConfigError, match=r"^config\.yaml, line 1: ") as caught:
        load("a: [1, 2", source="config.yaml")
    assert "!env_var" not in str(caught.value)


@pytest.mark.parametrize("held", ["a${X}", "${X}${X}"])
def test_a_variable_that_holds_itself_is_an_error(held: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("X", held)
    with pytest.raises(
        ConfigError, match=r"^config\.yaml, line 2: a variable in .* holds itself; give it another value$"
    ):
        load("a: 1\nb: ${X}", source="config.yaml")


def test_a_value_that_is_no_yaml_names_the_place_and_hides_the_value(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("X", "se: cr: et")
    with pytest.raises(ConfigError) as caught:
        load("a: 1\nb: ${X}\n", source="config.yaml")
    assert str(caught.value) == (
        "config.yaml, line 2: with its variables replaced, '${X}' is no YAML: mapping values are not allowed here"
    )


def test_a_list_cannot_be_a_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("X", "[1]")
    with pytest.raises(ConfigError, match="line 1: found unhashable key"):
        load("${X}: 1")


def test_nesting_without_end_is_an_error() -> None:
    with pytest.raises(ConfigError, match="is no valid YAML"):
        load("[" * 500)


def test_other_users_of_yaml_see_no_change() -> None:
    assert yaml.safe_load("a: ${N}") == {"a": "${N}"}


def test_substitute_takes_the_environment_it_is_given() -> None:
    assert substitute("${A:1}-${B:2}", {"A": "x"}) == "x-2"


def test_substitute_keeps_an_unclosed_default() -> None:
    assert substitute("${A:{x}", {}) == "${A:{x}"


def test_the_module_needs_nothing_but_yaml_and_the_errors() -> None:
    source = Path(load.__code__.co_filename).read_text(encoding="utf-8")
    imports = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports <= {"os", "re", "collections", "typing", "yaml", "rpcservice"}
