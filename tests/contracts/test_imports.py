"""Imports go one way, heavy ones happen where they are used, and only the rooms meant for it know a library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "kdlab").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])

EVERYWHERE = {
    *("arrays", "collector", "errors", "keys", "mappings", "outputs", "references", "rounding", "streams", "targets"),
    *("saying", "tempering"),
}
ALLOWED = {
    "data": set(),
    "models": set(),
    "objectives": set(),
    "records": set(),
    "teachers": {"models", "data"},
    "evaluation": {"data"},
    "training": {"objectives", "teachers", "models", "data"},
    "web": set(),
    "reporting": {"records", "web"},
    "tracking": {"records"},
    "board": {"records", "reporting", "web"},
    "schema": {"data", "objectives", "teachers"},
    "experiments": {
        *("data", "evaluation", "models", "objectives", "records", "reporting", "schema", "teachers"),
        *("tracking", "training"),
    },
}
HEAVY = {"wandb", "netcal", "matplotlib", "scipy", "pandas", "sklearn", "mnist1d", "kornia", "starlette", "uvicorn"}
ONLY_IN = {
    "wandb": ("kdlab/tracking/wandb/",),
    "hydra": ("kdlab/commands/", "hydra_plugins/"),
    "omegaconf": ("kdlab/commands/", "hydra_plugins/"),
    "starlette": ("kdlab/board/",),
    "uvicorn": ("kdlab/board/",),
    "netcal": ("kdlab/evaluation/",),
    "matplotlib": ("kdlab/reporting/",),
    "pandas": ("kdlab/reporting/", "kdlab/commands/api.py"),
    "mnist1d": ("kdlab/data/",),
    "sklearn": ("kdlab/data/",),
    "kornia": ("kdlab/data/augmentation.py",),
    "pytorch_lightning": ("kdlab/training/",),
    "pydantic": ("kdlab/schema/", "kdlab/data/loading.py"),
}


def room(path):
    """``kdlab/data/splits.py`` -> ``data``; ``kdlab/errors.py`` -> ``errors``."""
    parts = path.relative_to(ROOT).parts
    return parts[0] if parts[0] != "kdlab" or len(parts) == 1 else parts[1].removesuffix(".py")


def imports(path):
    """``(module, at the top of the module, for type checking only)`` of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            child.parent = parent
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" if node.module == "kdlab" else node.module for alias in node.names]
        if not names:
            continue
        above, top, typing = node, True, False
        while (above := getattr(above, "parent", None)) is not None:
            top = top and not isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef)
            typing = typing or (isinstance(above, ast.If) and "TYPE_CHECKING" in ast.unparse(above.test))
        for name in names:
            yield name, top, typing


def test_there_are_files():
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_imports_of_a_file(path):
    place, here = str(path.relative_to(ROOT)), room(path)
    for module, top, typing in imports(path):
        library, *rest = module.split(".")
        if library == "kdlab" and rest:
            target = rest[0]
            if here in ALLOWED and target not in (here, "__version__"):
                assert target in ALLOWED[here] | EVERYWHERE, f"{place}: {here} may not import {module}"
            if here in EVERYWHERE:
                assert target in EVERYWHERE, f"{place}: everyone imports {here}, so it imports no room"
        if library in HEAVY and not typing:
            assert not top, f"{place}: {module} is imported where it is used, not at the top"
        if library in ONLY_IN and not typing:
            assert place.startswith(ONLY_IN[library]), f"{place}: {library} is known only to {ONLY_IN[library]}"


def test_every_room_has_its_rule():
    rooms = {room(path) for path in FILES} - {"__init__", "hydra_plugins", "commands"} - EVERYWHERE
    assert rooms == set(ALLOWED)


def test_the_package_imports_nothing_by_itself():
    import subprocess
    import sys

    code = "import sys, kdlab; print(sorted({'torch', 'numpy', 'hydra', 'pydantic'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("modules", ["kdlab.commands.jobs, kdlab.commands.sweeping", "kdlab.commands.evaluating"])
def test_no_command_pays_for_what_it_does_not_use(modules):
    import subprocess
    import sys

    code = f"import sys, {modules}; print(sorted({HEAVY | {'pytorch_lightning'}!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
