"""What somebody's model.json may cost: a network is built only as far as its weights bear out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules import module
from torch.nn.parameter import is_lazy

# Beyond the weights: of networks that replace layers while they are built, and of what is computed rather than stored.
FACTOR = 4
MORE_TENSORS, MORE_VALUES, MORE_MODULES = 1000, 100_000_000, 10_000
MODULES_OF_TENSOR = 40
# Bytes that name the tensors of a .safetensors file: more than 100 000 of them, where a million take half a minute to open.
MAX_HEADER_BYTES = 10_000_000


def check_header(start: bytes) -> None:
    """Refuse a .safetensors file whose list of tensors is far longer than that of any network.

    Parameters
    ----------
    start
        The file, or its first eight bytes.

    Raises
    ------
    ValueError
        If it is.

    References
    ----------
    https://github.com/huggingface/safetensors#format
    """
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes; at most {MAX_HEADER_BYTES} are read")


@contextmanager
def no_larger_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Stop the building of a network that has far more layers or values than the weights that it shall get.

    Only registered tensors are counted, before anything is written to them: memory that is not written to is not used.

    Raises
    ------
    RuntimeError
        At the first layer that is too many.
    """
    limits = {
        "tensors": FACTOR * len(weights) + MORE_TENSORS,
        "values": FACTOR * sum(value.numel() for value in weights.values()) + MORE_VALUES,
        "modules": MODULES_OF_TENSOR * len(weights) + MORE_MODULES,
    }
    found = dict.fromkeys(limits, 0)

    def count(kind: str, number: int) -> None:
        found[kind] += number
        if found[kind] > limits[kind]:
            raise RuntimeError(f"the network is far larger than its weights: more than {limits[kind]} {kind}")

    def tensor(_module: nn.Module, _name: str, value: Tensor | None) -> None:
        if value is not None and not is_lazy(value):
            count("tensors", 1)
            count("values", value.numel())

    handles = [
        module.register_module_parameter_registration_hook(tensor),
        module.register_module_buffer_registration_hook(tensor),
        module.register_module_module_registration_hook(lambda *_: count("modules", 1)),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
