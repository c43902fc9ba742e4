"""The diagram in tutorials/architecture.md is what modules import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "captum_ad"
LINES = re.findall(
    r"^[A-Za-z]+ {2,}(\S.*)$",
    re.findall(r"```text\n(.*?)```", (ROOT / "tutorials" / "architecture.md").read_text(encoding="utf-8"), re.DOTALL)[
        0
    ],
    re.MULTILINE,
)
LAYER = {name: layer for layer, line in enumerate(reversed(LINES)) for name in line.split()}
EXCEPTIONS = {("metrics.comparing", "study"), ("study.__main__", "cli")}


def imports() -> Iterator[tuple[str, str]]:
    """Of each module of the package, the modules at its top that it imports, but for types alone."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "captum_ad":
                below = node.module.split(".")[1:2] or [name.name for name in node.names if name.name in LAYER]
                yield from ((module, name) for name in below)


def test_every_module_is_in_one_layer() -> None:
    modules = {path.stem for path in PACKAGE.iterdir() if (path.suffix == ".py" or (path / "__init__.py").exists())}
    assert sorted(modules - {"__init__"}) == sorted(name for line in LINES for name in line.split())


def test_imports_go_down() -> None:
    found = list(imports())
    assert len(found) > 500
    up = {
        (module, name) for module, name in found if module != "__init__" and LAYER[name] > LAYER[module.split(".")[0]]
    }
    assert up == EXCEPTIONS
