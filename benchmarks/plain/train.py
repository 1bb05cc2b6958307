"""Train, and keep the checkpoint of the best epoch."""

from pathlib import Path

import pytorch_lightning as pl
import yaml
from dvclive.lightning import DVCLiveLogger
from network import Classifier, Digits, transform_of
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

if __name__ == "__main__":
    params = yaml.safe_load(Path("params.yaml").read_text())
    settings = params["train"]
    pl.seed_everything(params["seed"], workers=True)
    loading = {"batch_size": settings["batch_size"], "num_workers": settings["num_workers"], "persistent_workers": True}
    train = DataLoader(Digits("train", transform_of(augment=True)), shuffle=True, drop_last=True, **loading)
    val = DataLoader(Digits("val", transform_of()), **loading)
    best = ModelCheckpoint("models", "best", monitor="val_acc", mode="max", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=settings["epochs"],
        accelerator="cpu",
        deterministic=True,
        logger=DVCLiveLogger(save_dvc_exp=False, dvcyaml=False),
        callbacks=[best],
    )
    trainer.fit(Classifier(settings), train, val)
