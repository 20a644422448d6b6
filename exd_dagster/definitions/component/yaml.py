"""How the component's fields are written in YAML: kinds named by `type`, templates, secrets, JSON schema."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exd_dagster.definitions.alerting.destinations import DESTINATIONS
from exd_dagster.definitions.alerting.monitoring import Monitoring
from exd_dagster.errors import ConfigError, did_you_mean

_RECEIVERS: tuple[Any, ...] = (*DESTINATIONS.values(), Monitoring)

SECRETS = frozenset().union(*(receiver.secrets for receiver in _RECEIVERS))
"""Fields of a destination that are never written down; a template that names a variable is."""

READ_WHEN_SENDING = SECRETS.union(*(receiver.late for receiver in _RECEIVERS))
"""Fields of a destination whose variable is read when a message is sent, and not when definitions load."""

ENV_TEMPLATE = re.compile(r"\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))\s*\}\}")
"""A template that is one environment variable: its name is in the first or the second group."""

_VARIABLE = re.compile(r"\benv\.(\w+)")
_TEMPLATE = {"type": "string", "pattern": r"\{\{"}


@dataclass(frozen=True, eq=False)
class Kinds:
    """Annotates a field that takes one of several classes, selected in YAML by the key `type`.

    Attributes:
        classes: the class of each type.
        base: what an object given in Python must be an instance of.
        text: converts a plain string, if one is allowed.
    """

    classes: Mapping[str, Any]
    base: Any
    text: Any = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate with `read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each class under its type, so that a fault is reported at its place."""
        branches = []
        for name, kind in self.classes.items():
            reference = handler(kind.__pydantic_core_schema__)
            body = handler.resolve_ref_schema(reference)
            body["properties"] = {"type": {"const": name}, **body["properties"]}
            branches.append({"if": {"properties": {"type": {"const": name}}}, "then": reference})
        named = {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": list(self.classes)}},
            "allOf": branches,
        }
        return {"anyOf": [{"type": "string"}, named]} if self.text else named

    def read(self, value: Any) -> Any:
        """Return the object that a mapping with `type` describes; an object is returned as it is.

        Raises:
            ConfigError: for an unknown type, or anything the class does not take.
        """
        if isinstance(value, self.base):
            return value
        if isinstance(value, str) and self.text:
            return self.text(value)
        if not isinstance(value, Mapping):
            raise ConfigError(
                "type", [f"type: is missing; write a mapping with type: {' or '.join(self.classes)}"]
            )
        name = str(value.get("type") or "")
        if name not in self.classes:
            said = f"'{name}' is not known" if name else "is missing"
            raise ConfigError("type", [f"type: {said}.{did_you_mean(name, self.classes)}"])
        return self.classes[name](**{key: given for key, given in value.items() if key != "type"})


class Rendering:
    """Renders the templates of one document and collects what is wrong with them.

    Text without `{{` is left as it is: Dagster's own rendering would turn a flag called "123" into a number.

    Attributes:
        faults: one line for each value that cannot be used.
    """

    def __init__(self, context: dg.ResolutionContext) -> None:
        self._context = context
        self.faults: list[str] = []

    def value(self, value: Any, path: tuple[Any, ...] = ()) -> Any:
        """Return `value` with every template in it rendered."""
        if isinstance(value, Mapping):
            return {self._key(key, path): self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) else value

    def _key(self, key: Any, path: tuple[Any, ...]) -> str:
        if not isinstance(key, str):
            switch = "on, yes and true" if key else "off, no and false"
            words = switch if isinstance(key, bool) else "this name"
            self._fault(path, f"YAML reads {words} as {key!r}, which is not text; put the name in quotes")
        return str(key)

    def _text(self, text: str, path: tuple[Any, ...]) -> Any:
        if path[0] == "flags_from" and "headers" in path:
            return text  # rendered when the state is refreshed: loading needs no secret
        destination = path[0] in ("alerts", "on_shutoff", "monitoring")
        whole = ENV_TEMPLATE.fullmatch(text.strip())
        late = (destination and path[-1] in READ_WHEN_SENDING) or path in (
            ("store", "catalog"),
            ("publish", "connection"),
        )
        if whole and late:
            return dg.EnvVar(whole[1] or whole[2])
        if "{{" not in text:
            if not (destination and path[-1] in SECRETS):
                return text
            fix = f'put it in an environment variable and write "{{{{ env.{str(path[-1]).upper()} }}}}"'
            self._fault(path, f"a secret must not be written in this file; {fix}")
            return dg.EnvVar(str(path[-1]).upper())
        unset = [name for name in _VARIABLE.findall(text) if name not in os.environ]
        for name in unset:
            fix = f"set it, or write {{{{ env('{name}', 'a default') }}}}"
            self._fault(path, f"environment variable {name} is not set; {fix}")
        return text if unset else self._context.resolve_value(text)

    def _fault(self, path: tuple[Any, ...], message: str) -> None:
        self.faults.append(f"{'.'.join(map(str, path))}: {message}")


def file_of(context: dg.ResolutionContext) -> str:
    """Return " of <file>" where the file is known, else ""."""
    tree = context.source_position_tree
    return f" of {tree.position.filename}" if tree is not None else ""


def with_lines(faults: Iterable[str], context: dg.ResolutionContext) -> list[str]:
    """Return the faults with their lines in the YAML file, in order."""
    tree = context.source_position_tree
    if tree is None:
        return list(faults)
    lines: list[tuple[int, str]] = []
    for fault in faults:
        path = [int(part) if part.isdigit() else part for part in fault.partition(":")[0].split(".")]
        position, _ = tree.lookup_closest_and_path([*context.path, *path], None)
        lines.append((position.start.line, fault))
    return [f"line {line}: {fault}" for line, fault in sorted(lines, key=lambda pair: pair[0])]


def yaml_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of `model` as it is written in YAML, for editors and `dg check yaml`.

    Differs from pydantic's: an unknown key is reported with the known ones, a fault is reported at its own
    place and not at an enclosing alternative, every number or boolean may be a template, and there are no
    references, so that it can be embedded in the schema of a whole file.
    """
    schema = model.model_json_schema()
    whole: dict[str, Any] = _strict(_inlined(schema, schema.pop("$defs", {})))
    return whole


def _inlined(node: Any, models: Mapping[str, Any]) -> Any:
    """Put each model in the place of the references to it."""
    if isinstance(node, list):
        return [_inlined(item, models) for item in node]
    if not isinstance(node, dict):
        return node
    own = {key: _inlined(item, models) for key, item in node.items() if key != "$ref"}
    if "$ref" not in node:
        return own
    return {**_inlined(models[node["$ref"].rpartition("/")[2]], models), **own}


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {
        key: {name: _strict(inner) for name, inner in item.items()} if key == "properties" else _strict(item)
        for key, item in node.items()
        if not (key == "title" and isinstance(item, str))
    }
    if "description" in node:
        node["description"] = " ".join(node["description"].partition("\n\n")[0].split())
    return _scalar(_alternatives(_names(node)))


def _names(node: dict[str, Any]) -> dict[str, Any]:
    """Report an unknown key with the known ones, and refuse keys that YAML converted to another type."""
    if node.get("type") != "object" or "allOf" in node:
        return node
    if "properties" in node:
        return {**node, "additionalProperties": False, "propertyNames": {"enum": list(node["properties"])}}
    return {**node, "propertyNames": {"type": "string"}}


def _alternatives(node: dict[str, Any]) -> dict[str, Any]:
    """Choose between text and an object or list by the value, so that faults inside keep their place."""
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    nested = [option for option in options if option.get("type") in ("object", "array")]
    if len(nested) != 1:
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if len(options) == 1:
        return {**nested[0], **rest}
    others = {"anyOf": [option for option in options if option is not nested[0]]}
    return {**rest, "if": {"type": nested[0]["type"]}, "then": nested[0], "else": others}


def _scalar(node: dict[str, Any]) -> dict[str, Any]:
    kind = node.get("type")
    if node.get("format") == "duration":
        plain = {key: value for key, value in node.items() if key != "format"}
        return {**plain, "type": ["string", "number"]}
    if kind in ("number", "integer", "boolean") or (kind == "string" and "enum" in node):
        documentation = {key: value for key, value in node.items() if key in ("description", "default")}
        return {
            **documentation,
            "anyOf": [{k: v for k, v in node.items() if k not in documentation}, _TEMPLATE],
        }
    return node
