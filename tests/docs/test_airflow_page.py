"""The page on other schedulers: its DAG is Python, and the command in it is one that there is."""

import ast
import re
from pathlib import Path

from tests.docs.test_docs import assert_parses

PAGE = Path(__file__).parents[2] / "docs" / "airflow.md"


def test_command_of_the_dag_has_the_options_it_is_given():
    (code,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.S)
    texts = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    words = " ".join(str(text) for text in texts if "--" in str(text)).split()
    options = [word for word in words if word.startswith("--")]
    assert_parses(["telemetry", "srm", *options], "the DAG")
    assert {"--flag", "--preset", "--source", "--expected", "--from", "--to", "--fail-on-error"} <= {*options}
