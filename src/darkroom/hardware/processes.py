"""How many processes share a batch: it changes results, so `train`, which is recorded, has to say so. No torch here."""

from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams, Params


def known_processes(hardware: HardwareParams) -> int | None:
    """Return the number of processes that train together, one a device; None if the machine decides."""
    if hardware.devices == "auto":
        return None
    return (len(hardware.devices) if isinstance(hardware.devices, list) else hardware.devices) * hardware.num_nodes


def check_processes(params: Params, number: int | None) -> None:
    """Refuse processes that share the batches unless `train` says how many there are, and nothing is measured by each.

    Each of them normalises by the statistics of its own images and drops its own units, and gradients are added up in another
    order (docs/decisions/0027).

    Parameters
    ----------
    params
        All of params.yaml.
    number
        Of processes; None: not known yet.

    Raises
    ------
    InputError
        Naming the key of hardware, and the one that records it.
    """
    key = "hardware.num_nodes" if params.hardware.num_nodes > 1 else "hardware.devices"
    if number is not None and number != params.train.processes:
        raise InputError(
            f"params.yaml: {key}: lets {number} process(es) share each batch, which changes the result, but train.processes, "
            f"which is recorded, is {params.train.processes}; make them equal"
        )
    for name in ("precision", "memory_format"):
        if getattr(params.train, name) == "auto" and number is not None:
            check_measurable(f"train.{name}", number)


def check_measurable(key: str, number: int) -> None:
    """Refuse `auto` under this number of processes, each of which would measure, and might choose, for itself."""
    if number > 1:
        raise InputError(
            f"params.yaml: {key}: auto is measured on one device, but {number} are used; "
            f"run it with hardware.devices=1, and set the {key.rpartition('.')[2].replace('_', ' ')} that it reports"
        )
