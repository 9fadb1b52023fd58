"""The documentation tells the truth: its Python runs, its configuration loads, its commands exist."""

import ast
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from documents import DOCUMENTS, ROOT, blocks, commands
from sites import running

from rpcservice.config import KEYS, load_config

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@documents
def test_python_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page in one module, in their order, as a reader would type them in."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"page_{document.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module)["running"] = running
    for block in blocks(document, "python"):
        # Blank lines before it give tracebacks the line numbers of the page.
        code = compile("\n" * block.line + block.text, str(document), "exec")
        exec(code, vars(module))


@documents
def test_configuration_blocks_load(document: Path, tmp_path: Path) -> None:
    """A key that is misspelt on a page would be misspelt in many configurations."""
    for block in blocks(document, "yaml"):
        path = tmp_path / "config.yaml"
        path.write_text(block.text + "\nstrict_config: true\n")
        load_config(path)


@documents
def test_make_commands_are_targets(document: Path) -> None:
    """``make`` in the text and in console blocks."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = document.read_text()
    named = set(re.findall(r"``make ([a-z-]+)", text)) | set(re.findall(r"^ +\$ make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets


@documents
def test_tests_that_are_named_exist(document: Path) -> None:
    """A page that names its proof names one."""
    for path, name in re.findall(r"``(tests/[\w/]+\.py)(?:::(\w+))?``", document.read_text()):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), name


@documents
def test_rpcservice_commands_parse(document: Path) -> None:
    """Commands and options in console blocks are known to the command line."""
    from rpcservice.cli import main

    for line in commands(document):
        words = shlex.split(line, comments=True)
        if words[:1] == ["rpcservice"] and not words[1].startswith("-"):
            command = main.commands[words[1]]
            command.make_parser(command.make_context(words[1], [], resilient_parsing=True)).parse_args(words[2:])


def test_every_command_and_option_is_described() -> None:
    """docs/command-line.rst leaves nothing to be found out with --help alone."""
    from rpcservice.cli import main

    page = (ROOT / "docs" / "command-line.rst").read_text()
    options = {
        option
        for command in main.commands.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and not parameter.hidden
    }
    assert {name for name in main.commands if f"\n{name}\n---" not in page} == set()
    assert {option for option in options if f"``{option}" not in page} == set()


@documents
def test_files_that_are_named_exist(document: Path) -> None:
    """Paths in double backquotes that begin in a folder of the repository."""
    named = re.findall(r"``((?:docs|rpcservice|tests|benchmarks|\.ci)/[\w./-]*)``", document.read_text())
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == []


def test_no_document_is_left_out_of_the_contents() -> None:
    """Every page can be reached from the first one."""
    index = (ROOT / "docs" / "index.rst").read_text()
    pages = {path.stem for path in DOCUMENTS if path.parent.name == "docs"} - {"index"}
    assert {name for name in pages if not re.search(rf"^   {name}$", index, re.MULTILINE)} == set()


def test_the_table_of_keys_is_whole() -> None:
    """docs/configuration.rst lists every key with the default, the values and the meaning that the code knows."""
    page = (ROOT / "docs" / "configuration.rst").read_text()
    listed = re.findall(r"^   \* - ``(\w+)``\n     - ``(.*)``\n     - (.*)\n     - (.*)$", page, re.MULTILINE)
    assert listed == [(key.name, shown(key.default), key.kind.allowed, rst(key.meaning)) for key in KEYS]


def shown(default: object) -> str:
    """Give a default as it would be written in YAML."""
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    return "[]" if default == () else str(default)


def rst(text: str) -> str:
    """Give a text with its literals marked as in the documentation."""
    return text.replace("`", "``")


def test_the_first_example_is_the_one_that_make_run_runs() -> None:
    """docs/getting-started.rst shows docs/examples/hello.py, all but its docstrings."""
    shown = ast.parse(blocks(ROOT / "docs" / "getting-started.rst", "python")[0].text)
    example = ast.parse((ROOT / "docs" / "examples" / "hello.py").read_text())
    for node in (example, *(node for node in example.body if isinstance(node, ast.ClassDef))):
        assert ast.get_docstring(node)
        del node.body[0]
    assert ast.dump(shown) == ast.dump(example)
