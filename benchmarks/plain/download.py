"""Write scikit-learn's digits as PNG files, a folder for each class."""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

if __name__ == "__main__":
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = Path("data/raw") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).round().astype("uint8")).save(folder / f"{number:04}.png")
