"""Perceptual hashes: what looks the same differs in few bits, the rest in many; near ones are found without comparing all."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from darkroom.data.perceptual_hash import perceptual_hash
from darkroom.splitting import duplicates
from darkroom.splitting.duplicates import connected, near_pairs


def photo(seed: int, side: int = 96) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def distance(one: Image.Image, other: Image.Image) -> int:
    hashes = [perceptual_hash(np.array(image)) for image in (one, other)]
    assert hashes[0] is not None
    assert hashes[1] is not None
    return (int.from_bytes(hashes[0]) ^ int.from_bytes(hashes[1])).bit_count()


def test_the_same_image_in_other_clothes() -> None:
    for seed in range(20):
        image = photo(seed)
        assert distance(image, image.resize((64, 80))) <= 24
        assert distance(image, image.convert("L")) == 0
        assert distance(image, ImageEnhance.Brightness(image).enhance(0.7)) <= 24
        assert distance(image, ImageEnhance.Contrast(image).enhance(0.6)) <= 24


def test_other_images() -> None:
    images = [photo(seed) for seed in range(30)]
    assert min(distance(one, other) for place, one in enumerate(images) for other in images[:place]) > 64


def test_nothing_is_said_of_small_and_of_flat_images() -> None:
    assert perceptual_hash(np.array(photo(0, 31))) is None
    assert perceptual_hash(np.full((64, 64), 100, np.uint8)) is None
    assert perceptual_hash(np.full((64, 64, 3), 100, np.uint8) + np.arange(64, dtype=np.uint8)[:, None, None] // 16) is None


def test_the_bits_are_those_of_every_machine() -> None:
    pixels = (np.arange(64 * 64, dtype=np.uint32) ** 2 // 7 % 251).astype(np.uint8).reshape(64, 64)
    found = perceptual_hash(pixels)
    assert found is not None
    assert found.hex() == "5f5ebb7718ab80353b2203b9edd51d4e99e32fce2d629027cc0da9120f38e151"


def planted(count: int, distances: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], set[tuple[int, int]]]:
    """Return random hashes among which some differ from others in a known number of bits."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (count, 32), np.uint8)
    rows = random.permutation(count)
    pairs = set()
    for place, bits in enumerate(distances):
        one, other = int(rows[2 * place]), int(rows[2 * place + 1])
        flipped = np.zeros(256, np.uint8)
        flipped[random.permutation(256)[:bits]] = 1
        hashes[other] = hashes[one] ^ np.packbits(flipped)
        pairs.add((min(one, other), max(one, other)))
    return hashes, pairs


@pytest.mark.sample(1)
@pytest.mark.parametrize("count", [1000, 30_000])
def test_near_hashes_are_found(count: int) -> None:
    hashes, pairs = planted(count, np.arange(300) % 25)
    found, distances = near_pairs(hashes, 24)
    assert {(one, other) for one, other in found.tolist()} == pairs
    assert sorted(distances) == sorted(np.arange(300) % 25)
    assert near_pairs(hashes, 10)[0].shape == (sum(each <= 10 for each in np.arange(300) % 25), 2)


def test_few_and_many_are_searched_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, _ = planted(2000, np.arange(500) % 30)
    by_all = near_pairs(hashes, 20)
    monkeypatch.setattr(duplicates, "FEW", 10)
    by_bands = near_pairs(hashes, 20)
    assert all(np.array_equal(one, other) for one, other in zip(by_all, by_bands, strict=True))


def test_equal_hashes_are_paired_with_the_first() -> None:
    hashes = np.zeros((4000, 32), np.uint8)
    hashes[::2] = 255
    pairs, distances = near_pairs(hashes, 24)
    assert pairs[:3].tolist() == [[0, 2], [0, 4], [0, 6]]
    assert len(pairs) == 3998
    assert not distances.any()
    assert near_pairs(hashes[:0], 24)[0].shape == (0, 2)


def test_sets_are_what_pairs_connect() -> None:
    sets = connected(6, np.array([[0, 1], [1, 4], [2, 5]]))
    assert sets[0] == sets[1] == sets[4]
    assert sets[2] == sets[5]
    assert len(set(sets.tolist())) == 3
    assert len(set(connected(4, np.empty((0, 2), np.int64)).tolist())) == 4


def test_images_that_agree_in_many_bits_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    distances = duplicates._distances

    def count(words: Any, pairs: Any) -> Any:
        nonlocal compared
        compared += len(pairs)
        return distances(words, pairs)

    monkeypatch.setattr(duplicates, "_distances", count)
    hashes = np.random.default_rng(0).integers(0, 256, (20_000, 32), np.uint8)
    hashes[:, :4] = 0
    hashes[100] = hashes[7]
    hashes[100, 20] ^= 1
    pairs, found = near_pairs(hashes, 16)
    assert (pairs.tolist(), found.tolist()) == ([[7, 100]], [1])
    # All with all would be 200 million, and each band has that many if the equal bits are its own.
    assert compared < 20_000_000
