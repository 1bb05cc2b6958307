"""Write the prediction of every test image."""

import torch
from network import Classifier, Digits, transform_of
from torch.utils.data import DataLoader

if __name__ == "__main__":
    model = Classifier.load_from_checkpoint("models/best.ckpt", map_location="cpu").eval()
    data = Digits("test", transform_of())
    with torch.inference_mode():
        logits = torch.cat([model(images) for images, _ in DataLoader(data, batch_size=256)])
    probabilities, classes = logits.softmax(1).max(1)
    table = data.rows.assign(predicted=classes.numpy(), probability=probabilities.numpy())
    table.to_csv("predictions.csv", index=False)
