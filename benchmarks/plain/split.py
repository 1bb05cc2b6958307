"""Divide the images into train, val and test, stratified."""

from pathlib import Path

import pandas as pd
import yaml
from sklearn.model_selection import train_test_split

if __name__ == "__main__":
    params = yaml.safe_load(Path("params.yaml").read_text())
    files = sorted(Path("data/raw").glob("*/*.png"))
    table = pd.DataFrame({"path": map(str, files), "label": [int(file.parent.name) for file in files]})
    fractions = params["split"]
    rest, test = train_test_split(table, test_size=fractions["test_fraction"], stratify=table.label, random_state=params["seed"])
    train, val = train_test_split(
        rest,
        test_size=fractions["val_fraction"] / (1 - fractions["test_fraction"]),
        stratify=rest.label,
        random_state=params["seed"],
    )
    parts = [part.assign(split=name) for name, part in (("train", train), ("val", val), ("test", test))]
    pd.concat(parts).to_csv("data/split.csv", index=False)
