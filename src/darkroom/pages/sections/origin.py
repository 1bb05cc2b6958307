"""The last section: with what the results were made, and how to get them back."""

from collections.abc import Sequence

from darkroom.base.errors import InputError
from darkroom.pages.document import Content, Html, command, described, element, folded, join, missing, table
from darkroom.pages.sections.headline import value_text
from darkroom.pages.sections.words import each
from darkroom.versions.lock import outputs
from darkroom.versions.recorded import RUN
from darkroom.versions.results import Results

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "pytorch-lightning", "dvc")
SHOWN = 16  # characters of a hash


def origin(found: Sequence[Results]) -> Html:
    """Draw parameters, versions, hashes and commands of every revision."""
    return join(*each(found, _one))


def _one(results: Results) -> Html:
    params = table(
        ["parameter", "value"], [[element("code", key), value_text(value)] for key, value in results.params.items()], texts=(0, 1)
    )
    facts = _facts(results)
    if not facts and not results.params:
        return missing("Nothing that is here says so.", "dvc repro")
    return join(described(facts), folded("All parameters", params) if results.params else None)


def _facts(results: Results) -> list[tuple[Content, Content]]:
    facts: list[tuple[Content, Content]] = []
    if results.revision.commit:
        lines = [f"git checkout {results.revision.commit[:10]}", "dvc checkout"]
        facts.append(("To get it back", join(*(join(command(line), " ") for line in lines))))
    try:
        record = results.json_of(RUN)
        packages = record.get("packages", {})
        versions = [f"{name} {packages[name]}" for name in PACKAGES if name in packages]
        facts.append(("Trained with", "; ".join([f"Python {record.get('python', '?')}", *versions])))
        facts.append(("Weights, SHA-256", element("code", str(record.get("weights_sha256", "?"))[:SHOWN] + "…")))
    except InputError:
        pass
    for name in ("data/raw", "data/split"):
        if digest := outputs(results.lock).get(name):
            facts.append((join(name, ", MD5"), element("code", digest[:SHOWN] + "…")))
    return facts
