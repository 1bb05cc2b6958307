"""Passwords and tokens, which params.yaml must not hold: Git and DVC record it, and loggers and other machines get copies."""

import re
from typing import Any

from darkroom.base.errors import InputError

_NAMES = r"password|passwd|pwd|secret|token|signature|sig|credentials?|api[_-]?key|access[_-]?key|auth"
IN_ADDRESS = (
    re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]*:[^/?#\s]+@"),  # user:password@
    re.compile(rf"://.*[?&#;](?:[\w.-]*[_.-])?(?:{_NAMES})=[^&#\s]", re.IGNORECASE),
)
IN_KEY = re.compile(rf"(?:^|_)(?:{_NAMES})$", re.IGNORECASE)
# By the beginning of the key: where the programs that read it look for a password.
ELSEWHERE = {
    "tune.storage": "leave it out: PostgreSQL takes it from ~/.pgpass or PGPASSWORD (docs/search.md)",
    "download.": "leave it out: ~/.netrc may hold it, and for a bucket its backend's settings; download a signed address by hand",
    "train.loggers": "set it in the environment, such as MLFLOW_TRACKING_PASSWORD, or let a logger of src/plugins read it there",
}
OTHERWISE = "let the code that needs it read it from the environment"


def refuse_secrets(content: Any, name: str, key: str = "") -> None:
    """Refuse a password or token in the content of a params.yaml; the message does not show it.

    Parameters
    ----------
    content
        A text, or mappings and lists of such.
    name
        The file, for the message; empty: the key alone is named.
    key
        Key of `content` in the file.

    Raises
    ------
    InputError
        Naming the key, and where the secret may stand instead.
    """
    if isinstance(content, dict):
        for inner, value in content.items():
            refuse_secrets(value, name, f"{key}.{inner}" if key else str(inner))
    elif isinstance(content, list):
        for value in content:
            refuse_secrets(value, name, key)
    elif isinstance(content, str) and content and _is_secret(content, key):
        where = f"{name}: {key}" if name else key
        way_out = next((way for place, way in ELSEWHERE.items() if key.startswith(place)), OTHERWISE)
        raise InputError(f"{where}: holds a password or token, which would be recorded; {way_out}")


def _is_secret(text: str, key: str) -> bool:
    return bool(IN_KEY.search(key.rpartition(".")[2])) or any(pattern.search(text) for pattern in IN_ADDRESS)
