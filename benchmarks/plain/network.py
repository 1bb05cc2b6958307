"""The network of the default pipeline, its data set and its LightningModule, as they are usually written."""

import math

import pandas as pd
import pytorch_lightning as pl
import torch
import torchmetrics
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms


class Digits(Dataset[tuple[Tensor, int]]):
    """Images of a split."""

    def __init__(self, split: str, transform: transforms.Compose):
        table = pd.read_csv("data/split.csv")
        self.rows = table[table.split == split].reset_index(drop=True)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.rows.iloc[index]
        return self.transform(Image.open(row.path)), int(row.label)


def transform_of(*, augment: bool = False) -> transforms.Compose:
    """Return what is done to an image."""
    shift = [transforms.RandomAffine(0, translate=(1 / 8, 1 / 8))] if augment else []
    return transforms.Compose([*shift, transforms.ToTensor(), transforms.Normalize(0.3, 0.38)])


def network() -> nn.Sequential:
    """Return three convolutions with batch normalisation, 32, 64 and 128 channels."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.MaxPool2d(2)] if before > 1 else []
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10))


class Classifier(pl.LightningModule):
    """Trains with AdamW, warm-up and a cosine."""

    def __init__(self, settings: dict):
        super().__init__()
        self.save_hyperparameters()
        self.settings = settings
        self.network = network()
        self.loss = nn.CrossEntropyLoss(label_smoothing=settings["label_smoothing"])
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Measure a batch."""
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        self.log("val_loss", self.loss(logits, batch[1]))
        self.log("val_acc", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> dict:
        """Return the optimizer and its schedule by steps."""
        settings = self.settings
        optimizer = torch.optim.AdamW(self.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"])
        total = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(total * settings["warmup_fraction"]))

        def factor(step: int) -> float:
            return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warmup) / max(1, total - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
