"""Rules of the code that a machine can hold: public names, import cost, size. Layers: `lint-imports`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import exd_dagster

PACKAGE = Path(exd_dagster.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("scipy", "pandas", "slack_sdk", "apprise", "ibis", "matplotlib", "xpyrment", "pyspark")
HEAVY += ("opentelemetry", "prometheus_client")

PUBLIC = """
    CallbackAlerts DeltaRecords DuckLakeResource EmailAlerts FileRecords FlagAudit FlagAuditComponent
    IbisRecords IcebergRecords LiveMonitor Monitoring ParquetRecords
    Phase SlackAlerts StateBackedFlagAuditComponent TableRecords Thresholds Warehouse WebhookAlertDispatcher
    AppriseAlerts PagerDutyAlerts
    WebhookAlerts blocked_by build_check_alert_sensor build_flag_audit_checks build_flag_audit_defs
    build_nightly_audit_schedule build_reconcile_check build_variant_bins_assets
    flags_from flags_from_manifest gate_condition
    gated_job plan_detection protect trust variant_bins
"""


def imports_of(module: Path) -> list[tuple[str, bool]]:
    """Return every imported module name, with whether the import runs when the module is imported."""
    tree = ast.parse(module.read_text())
    inside = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING")
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inside) for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, id(node) not in inside))
    return found


def top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def test_only_two_files_touch_what_dagster_keeps_private() -> None:
    offenders = {
        str(module.relative_to(PACKAGE))
        for module in MODULES
        for name, _ in imports_of(module)
        if name.startswith("dagster._") or "._core" in name
    }
    assert offenders <= {"definitions/internals.py", "definitions/protection/guarded_asset.py"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_no_module_imports_a_heavy_library_at_import(module: Path) -> None:
    assert not [name for name, at_import in imports_of(module) if at_import and top(name) in HEAVY]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_a_file_has_at_most_400_lines_and_a_function_40(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= 400
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (length := body_length(node)) > 40
    ]
    assert not long


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_the_docstring_of_a_private_function_is_one_line(module: Path) -> None:
    long = [
        node.name
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("_")
        and not node.name.startswith("__")
        and "\n" in (ast.get_docstring(node) or "")
    ]
    assert not long


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, its docstring and nested functions left out."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    if not body:
        return 0
    nested = sum(
        (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(function)
        if isinstance(node, ast.FunctionDef) and node is not function
    )
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 - nested


def test_the_public_names_are_these_and_no_other() -> None:
    assert set(exd_dagster.__all__) == set(PUBLIC.split())


def test_every_public_name_can_be_imported() -> None:
    for name in exd_dagster.__all__:
        assert getattr(exd_dagster, name) is not None


def test_importing_the_dagster_side_loads_no_heavy_library() -> None:
    code = (
        "import sys, exd_dagster\n"
        "for name in exd_dagster.__all__: getattr(exd_dagster, name)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_alone_does_not_import_dagster() -> None:
    code = "import sys, exd_dagster; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
