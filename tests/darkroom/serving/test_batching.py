"""What waits together is computed together, nobody waits for others to come, and nobody spoils the batch of others."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from darkroom.base.errors import RunError
from darkroom.serving.batching import Batcher


class Network:
    """Doubles numbers, when it is let; -1 cannot be computed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_let = threading.Event()
        self.is_let.set()

    def __call__(self, images: Sequence[Any]) -> list[int]:
        numbers = [int(image) for image in images]
        self.batches.append(numbers)
        self.is_let.wait(10)
        if -1 in numbers:
            raise RunError("its logits are NaN")
        return [2 * number for number in numbers]


def images(*numbers: int) -> list[Any]:
    return [np.int64(number) for number in numbers]


def run(work: Any) -> Any:
    """Run `work(batcher, network)` with batches of at most 4."""
    network = Network()
    with ThreadPoolExecutor(1) as thread:

        async def main() -> Any:
            return await work(Batcher(network, 4, thread, lambda *_: None), network)

        return asyncio.run(main())


def test_one_is_computed_at_once_and_those_meanwhile_together() -> None:
    async def work(batcher: Batcher, network: Network) -> None:
        network.is_let.clear()
        first = asyncio.create_task(batcher(images(1)))
        while not network.batches:
            await asyncio.sleep(0)
        others = [asyncio.create_task(batcher(images(*numbers))) for numbers in ((2, 3), (4,), (5, 6, 7))]
        await asyncio.sleep(0.01)
        assert network.batches == [[1]]
        network.is_let.set()
        assert await first == [2]
        assert await asyncio.gather(*others) == [[4, 6], [8], [10, 12, 14]]
        assert network.batches == [[1], [2, 3, 4, 5], [6, 7]]
        assert await batcher(images(8)) == [16]

    run(work)


def test_an_image_that_cannot_be_computed_fails_alone() -> None:
    async def work(batcher: Batcher, network: Network) -> None:
        network.is_let.clear()
        tasks = [asyncio.create_task(batcher(images(number))) for number in (1, 2, -1, 3)]
        await asyncio.sleep(0.01)
        network.is_let.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each) for each in found] == ["[2]", "[4]", "its logits are NaN", "[6]"]

    run(work)


def test_what_was_given_up_is_not_computed() -> None:
    async def work(batcher: Batcher, network: Network) -> None:
        network.is_let.clear()
        tasks = [asyncio.create_task(batcher(images(number))) for number in (1, 2, 3)]
        while not network.batches:
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        network.is_let.set()
        assert [await tasks[0], await tasks[2]] == [[2], [6]]
        assert network.batches[-1] == [3] or network.batches == [[1, 2, 3]]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]

    run(work)


def test_a_fault_is_told_to_all_of_its_batch_and_the_next_one_is_computed() -> None:
    async def work(batcher: Batcher, _: Network) -> None:
        with pytest.raises(TypeError):
            await batcher([object()])
        assert await batcher(images(1)) == [2]

    run(work)
