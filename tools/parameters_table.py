"""Write the README's table of parameters from the docstrings in src/darkroom/params.py: python tools/parameters_table.py."""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from darkroom.params import Network, Params, Section
from darkroom.params_file import read_yaml

README = ROOT / "README.md"
BETWEEN = re.compile(r"(<!-- parameters -->\n).*?(<!-- /parameters -->)", re.DOTALL)


def table() -> str:
    """Return the table in Markdown: key, default, meaning."""
    content = read_yaml(ROOT / "params.yaml")
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in Params.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        rows += _rows(name, section, content[name])
    return "\n".join(rows) + "\n"


def _rows(prefix: str, section: type[Section], values: dict[str, Any]) -> list[str]:
    rows = []
    for key, field in section.model_fields.items():
        name, value = f"{prefix}.{key}", values[key]
        rows.append(f"| `{name}` | {_shown(value)} | {field.description} |")
        if name == "train.model":
            rows += _rows(name, Network, value)
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return f"`{value['_target_'].rpartition('.')[2]}`"
    if isinstance(value, dict | list) and value:
        return "see params.yaml"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def renewed(readme: str) -> str:
    """Return the README with the table in its place."""
    return BETWEEN.sub(lambda match: match[1] + table() + match[2], readme)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
