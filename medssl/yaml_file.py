"""YAML as people mean it: no key twice, no aliases, and numbers as they read."""

import re
from pathlib import Path
from typing import Any

import yaml

from medssl.errors import UserError

DEEPEST = 20
INT = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
SHORT_FLOAT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$")
PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)$|0x[0-9a-fA-F]+$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 010 for 8, 1:30 for 90, 1e-5 for text, and the last of two equal keys."""

    depth = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "aliases are not read", self.peek_event().start_mark
            )
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.constructor.ConstructorError(
                None, None, f"nested deeper than {DEEPEST}", self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        mapping = super().construct_mapping(node, deep=True)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is given twice", node.start_mark
            )
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != INT]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(INT, PLAIN_INT, list("-+0123456789"))
_Loader.add_implicit_resolver(FLOAT, SHORT_FLOAT, list("-+0123456789"))


def parse(text: str) -> Any:
    """Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)  # noqa: S506


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping whose keys are words. Raises UserError naming the file."""
    try:
        values = parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise UserError("CONFIG", path, f"not readable as YAML ({cause})", "mend it") from error
    if values is not None and not isinstance(values, dict):
        raise UserError("CONFIG", path, "found no mapping of keys", "write `key: value` lines")
    odd = [key for key in values or {} if not isinstance(key, str)]
    if odd:
        raise UserError(
            "CONFIG", path, f"the key {odd[0]!r} is no word", "write `key: value` lines"
        )
    return values or {}
