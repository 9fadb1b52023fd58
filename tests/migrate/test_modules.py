"""What a name in one module stands for when it comes from another one of the same code base."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rpcservice.migrate.modules import Modules
from rpcservice.migrate.project import migrate

PROVIDER = "from nameko.extensions import DependencyProvider\nclass Base(DependencyProvider): pass\n"

CLASS = "class Mine({base}):\n    def worker_result(self, ctx, result=None, exc=None): pass\n"
TOLD = "worker_result takes exc, a triple with nameko"

Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files below the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def told(*paths: str) -> list[str]:
    return [f"{finding.path}: {finding.what}" for finding in migrate(list(map(Path, paths)), writes=False).findings]


WAYS: dict[str, dict[str, str]] = {
    "a relative import": {
        "shop/__init__.py": "",
        "shop/base.py": PROVIDER,
        "shop/mine.py": "from .base import Base\n" + CLASS.format(base="Base"),
    },
    "a relative import of the module": {
        "shop/__init__.py": "",
        "shop/base.py": PROVIDER,
        "shop/mine.py": "from . import base\n" + CLASS.format(base="base.Base"),
    },
    "a relative import from further up": {
        "shop/__init__.py": "",
        "shop/sub/__init__.py": "",
        "shop/base.py": PROVIDER,
        "shop/sub/mine.py": "from ..base import Base as B\n" + CLASS.format(base="B"),
    },
    "an absolute import": {
        "shop/__init__.py": "",
        "shop/base.py": PROVIDER,
        "shop/mine.py": "from shop.base import Base\n" + CLASS.format(base="Base"),
    },
    "an import of the module by its path": {
        "shop/__init__.py": "",
        "shop/base.py": PROVIDER,
        "shop/mine.py": "import shop.base\n" + CLASS.format(base="shop.base.Base"),
    },
    "an import of the module by another name": {
        "shop/__init__.py": "",
        "shop/base.py": PROVIDER,
        "shop/mine.py": "import shop.base as b\n" + CLASS.format(base="b.Base"),
    },
    "an import in a package without __init__": {
        "shop/base.py": PROVIDER,
        "shop/mine.py": "from shop.base import Base\n" + CLASS.format(base="Base"),
    },
    "an import below src": {
        "src/shop/__init__.py": "",
        "src/shop/base.py": PROVIDER,
        "src/shop/mine.py": "from shop.base import Base\n" + CLASS.format(base="Base"),
    },
    "an import of the module beside it": {
        "shop/base.py": PROVIDER,
        "shop/mine.py": "from base import Base\n" + CLASS.format(base="Base"),
    },
    "what __init__ has from its module": {
        "shop/__init__.py": "from .base import Base\n",
        "shop/base.py": PROVIDER,
        "mine.py": "from shop import Base\n" + CLASS.format(base="Base"),
    },
    "all that __init__ has from its module": {
        "shop/__init__.py": "from shop.base import *\n",
        "shop/base.py": PROVIDER,
        "mine.py": "import shop\n" + CLASS.format(base="shop.Base"),
    },
    "what __init__ calls otherwise": {
        "shop/__init__.py": "from .base import Base as Provider\nBase = Provider\n",
        "shop/base.py": PROVIDER,
        "mine.py": "from shop import Base\n" + CLASS.format(base="Base"),
    },
    "all of a module": {
        "base.py": PROVIDER,
        "mine.py": "from base import *\nclass Between(Base): pass\n" + CLASS.format(base="Between"),
    },
    "nameko's own class from a module that only hands it on": {
        "shop/compat.py": "from nameko.extensions import DependencyProvider as Base\n",
        "shop/mine.py": "from .compat import Base\n" + CLASS.format(base="Base"),
    },
    "a class between": {
        "base.py": PROVIDER,
        "between.py": "from base import Base\nclass Between(Base): pass\n",
        "mine.py": "from between import Between\n" + CLASS.format(base="Between"),
    },
    "the second of two bases": {
        "base.py": PROVIDER,
        "mine.py": "from base import Base\nclass Mixin: pass\n" + CLASS.format(base="Mixin, Base"),
    },
    "an import that may fail": {
        "base.py": PROVIDER,
        "mine.py": "try:\n    from base import Base\nexcept ImportError:\n    from other import Base\n"
        + CLASS.format(base="Base"),
    },
    "a base that there is in one case alone": {
        "base.py": "if X:\n    Base = object\nelse:\n    from nameko.extensions import DependencyProvider as Base\n",
        "mine.py": "from base import Base\n" + CLASS.format(base="Base"),
    },
    "an import within a function": {
        "base.py": PROVIDER,
        "mine.py": "def make():\n    from base import Base\n    class Mine(Base):\n"
        "        def worker_result(self, ctx, result=None, exc=None): pass\n",
    },
    "modules that import each other": {
        "base.py": "from mine import Mine\n" + PROVIDER,
        "mine.py": "from base import Base\n" + CLASS.format(base="Base"),
    },
    "a base that has come to us already": {
        "base.py": "from rpcservice import DependencyProvider\nclass Base(DependencyProvider): pass\n",
        "mine.py": "from base import Base\n" + CLASS.format(base="Base"),
    },
}


@pytest.mark.parametrize("files", WAYS.values(), ids=list(WAYS))
def test_a_base_of_another_module_is_seen_by_way_of(files: dict[str, str], write: Write) -> None:
    """A module that does not name nameko at all is looked into too."""
    write(files)
    mine = next(path for path in files if path.endswith("mine.py"))
    assert told(".") == [f"{mine}: {TOLD}"]


OTHERS: dict[str, dict[str, str]] = {
    "a class of the same name in another module": {
        "base.py": PROVIDER,
        "other.py": "class Base: pass\n",
        "mine.py": "from other import Base\n" + CLASS.format(base="Base"),
    },
    "a module of the same name in another package": {
        "one/__init__.py": "",
        "one/base.py": PROVIDER,
        "two/__init__.py": "",
        "two/base.py": "class Base: pass\n",
        "two/mine.py": "from .base import Base\n" + CLASS.format(base="Base"),
    },
    "a module of a package that is not the package's": {
        "one/__init__.py": "",
        "one/base.py": PROVIDER,
        "mine.py": "from base import Base\n" + CLASS.format(base="Base"),
    },
    "another package's module": {
        "base.py": PROVIDER,
        "mine.py": "from elsewhere.base import Base\n" + CLASS.format(base="Base"),
    },
    "modules that only have each other's names": {
        "base.py": "from mine import Base\n",
        "mine.py": "from base import Base\n" + CLASS.format(base="Base"),
    },
    "names that only have each other": {
        "base.py": "A = B\nB = A\nC = C\n",
        "mine.py": "from base import A, C\n" + CLASS.format(base="A, C"),
    },
    "a relative import from above it all": {
        "base.py": PROVIDER,
        "mine.py": f"from {'.' * 99} import base\n" + CLASS.format(base="base.Base"),
    },
}


@pytest.mark.parametrize("files", OTHERS.values(), ids=list(OTHERS))
def test_no_base_of_namekos_is_seen_in(files: dict[str, str], write: Write) -> None:
    write(files)
    assert told(".") == []


def test_of_two_modules_of_one_name_the_nearer_is_meant(write: Write) -> None:
    """A repository often holds several services, each with its own ``base``."""
    write(
        {
            "one/base.py": PROVIDER,
            "one/mine.py": "from base import Base\n" + CLASS.format(base="Base"),
            "two/base.py": "class Base: pass\n",
            "two/mine.py": "from base import Base\n" + CLASS.format(base="Base"),
        }
    )
    assert told(".") == [f"one/mine.py: {TOLD}"]


def test_a_container_between_is_seen(write: Write) -> None:
    write(
        {
            "base.py": "from nameko.containers import ServiceContainer\nclass Base(ServiceContainer): pass\n",
            "mine.py": "from base import Base\nclass Mine(Base):\n    def spawn_worker(self, entrypoint): pass\n",
        }
    )
    assert told(".") == ["mine.py: spawn_worker is overridden"]


def test_the_configuration_of_a_base_service_is_seen(write: Write) -> None:
    """What a base service declares, the services below it use."""
    write(
        {
            "shop/__init__.py": "",
            "shop/base.py": "from nameko.dependency_providers import Config\n"
            "class BaseService:\n    config = Config()\n    other = dict()\n",
            "shop/orders.py": "from shop.base import BaseService\nclass Orders(BaseService):\n"
            "    def place(self):\n        self.config['A'] = 1\n        self.other['B'] = 2\n",
        }
    )
    assert told("shop") == ["shop/orders.py: self.config is changed"]


def test_a_client_that_another_module_hands_on_is_seen(write: Write) -> None:
    write(
        {
            "clients.py": "from nameko.standalone.rpc import ClusterRpcProxy as Cluster\n",
            "use.py": "import clients\nclients.Cluster()\n",
        }
    )
    assert told(".") == ["use.py: ClusterRpcClient gets no configuration"]


def test_an_option_of_an_entrypoint_that_another_module_hands_on_is_left_to_a_person(write: Write) -> None:
    """It is not rewritten: only there it is known what the name stands for."""
    write(
        {
            "shop/nk.py": "from nameko.rpc import rpc\n",
            "shop/orders.py": "from shop.nk import rpc\n\n@rpc(sensitive_variables='x')\ndef f(self): pass\n",
        }
    )
    assert told(".") == ["shop/orders.py: sensitive_variables is nameko's"]


def test_what_is_no_python_is_left_out(write: Write) -> None:
    root = write({"base.py": PROVIDER + ")", "mine.py": "from base import Base\n" + CLASS.format(base="Base")})
    codes = {path: path.read_bytes() for path in sorted(root.glob("*.py"))}
    assert list(Modules(codes).ancestors("base.Base", root / "mine.py")) == ["base.Base"]


def test_the_bases_are_seen_once_the_code_is_rewritten(write: Write) -> None:
    write(WAYS["a class between"])
    assert [finding.what for finding in migrate([Path()], writes=True).findings] == [TOLD]
    assert told(".") == [f"mine.py: {TOLD}"]
