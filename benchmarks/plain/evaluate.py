"""Measure the best checkpoint on the test images."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from network import Classifier, Digits, transform_of
from sklearn.metrics import ConfusionMatrixDisplay, classification_report
from torch.utils.data import DataLoader

if __name__ == "__main__":
    model = Classifier.load_from_checkpoint("models/best.ckpt", map_location="cpu").eval()
    labels, predicted = [], []
    with torch.inference_mode():
        for images, truth in DataLoader(Digits("test", transform_of()), batch_size=256):
            labels += truth.tolist()
            predicted += model(images).argmax(1).tolist()
    report = classification_report(labels, predicted, output_dict=True)
    Path("metrics.json").write_text(json.dumps({"test": report}, indent=2))
    ConfusionMatrixDisplay.from_predictions(labels, predicted)
    plt.savefig("confusion.png")
