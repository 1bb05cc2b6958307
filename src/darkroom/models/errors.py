"""Errors of `train.model`, each on one line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from darkroom.base.errors import InputError, RunError, described, listed, nearest
from darkroom.base.params import Network


@contextmanager
def one_line_errors(model: Network) -> Iterator[None]:
    """Report a library's error in building a network on one line."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        raise InputError(
            f"params.yaml: train.model: {model.provider}'s {model.name} cannot be built ({described(error)}); "
            "correct name and kwargs"
        ) from error


def no_weights(model: Network, error: Exception) -> RunError:
    """Return the error for pretrained weights that cannot be downloaded."""
    return RunError(
        f"params.yaml: train.model.pretrained: the weights of {model.provider}'s {model.name} cannot be downloaded "
        f"({described(error)}); check the connection, or take what needs none: 'dvc exp run $(./darkroom preset photos)' has the "
        "weights that are installed, from_scratch_small none"
    )


def unknown_name(model: Network, known: Iterable[str]) -> InputError:
    """Return the error for a name that the provider does not have."""
    hint = nearest(model.name, known, "check the spelling")
    return InputError(f"params.yaml: train.model.name: {model.provider} has no network '{model.name}'; {hint}")


def check_kwargs(model: Network, known: list[str]) -> None:
    """Raise an error for arguments that the network does not take."""
    for name in model.kwargs:
        if name not in known:
            hint = nearest(name, known, f"it takes {listed(known)}")
            raise InputError(f"params.yaml: train.model.kwargs.{name}: {model.name} takes no such argument; {hint}")
