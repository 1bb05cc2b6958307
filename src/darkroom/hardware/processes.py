"""How many processes share a batch, and how: it changes results, so `train`, which is recorded, has to say so. No torch here."""

from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams, Params


def known_processes(hardware: HardwareParams) -> int | None:
    """Return the number of processes that train together, one a device; None if the machine decides."""
    if hardware.devices == "auto":
        return None
    return (len(hardware.devices) if isinstance(hardware.devices, list) else hardware.devices) * hardware.num_nodes


def check_processes(params: Params, number: int | None) -> None:
    """Refuse processes that share the batches unless `train` says how many there are, and how they share.

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
    train, hardware = params.train, params.hardware
    key = "hardware.num_nodes" if hardware.num_nodes > 1 else "hardware.devices"
    if number is not None and number != train.processes:
        raise InputError(
            f"params.yaml: {key}: lets {number} process(es) share each batch, which changes the result, but train.processes, "
            f"which is recorded, is {train.processes}; make them equal"
        )
    # Variants of DDP differ in how processes are started and wait for each other, not in what they add up.
    same = hardware.strategy in ("auto", "single_device") or hardware.strategy.startswith("ddp")
    strategy = "ddp" if same else hardware.strategy
    if strategy != train.strategy:
        raise InputError(
            f"params.yaml: hardware.strategy: is {hardware.strategy}, which changes the result, but train.strategy, which is "
            f"recorded, is {train.strategy}; make them equal"
        )
