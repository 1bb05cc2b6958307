"""Source and licence of the weights that a training starts with."""

import re

from darkroom.base.errors import InputError, warn
from darkroom.base.params import Section

# Licences that allow research only: Creative Commons' NC, FAIR's, Apple's research licence, SEER's.
# https://huggingface.co/docs/hub/repositories-licenses; 'other' is the hub's name for a licence of the owner's own.
RESTRICTED = re.compile(r"\bnc\b|non-?commercial|research|\bamlr\b|\bseer\b|\bother\b", re.IGNORECASE)
FROM_SCRATCH = "the project's own, trained from scratch"


class WeightsOrigin(Section):
    """Weights that a training started with or was distilled from."""

    source: str
    """Library or command, and the name there."""
    licence: str | None
    """As the source names it; null: it names none."""
    sha256: dict[str, str]
    """Hash of each file, where the name alone does not say which weights are meant."""

    def __str__(self) -> str:
        return f"the weights of {self.source} ({self.licence or 'no licence named'})"


def check_licence(origin: WeightsOrigin, *, allow_noncommercial: bool) -> None:
    """Refuse weights whose licence forbids commercial use, unless `train.allow_noncommercial` is set.

    Raises
    ------
    InputError
        Naming the licence.
    """
    if origin.licence is None:
        warn(f"params.yaml: train.model: the weights of {origin.source} name no licence; check their terms")
    elif RESTRICTED.search(origin.licence) and not allow_noncommercial:
        raise InputError(
            f"params.yaml: train.allow_noncommercial: is false, but the licence of {origin.source} ({origin.licence}) forbids "
            "commercial use, or may; use other weights, or read it and set train.allow_noncommercial to true"
        )
