"""Write docs/parameters.md: `python tools/parameters_table.py`.

Meanings are the docstrings of `darkroom.base.params`, defaults are params.yaml's, examples stand here. tests/test_docs.py holds
that the page is current and that DVC and Darkroom accept every example.
"""

import ast
import inspect
import itertools
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from darkroom.base.params import NOT_PASSED_ON, Network, Params, Section, TrainerArguments
from darkroom.base.yaml_file import read_yaml

PAGE = ROOT / "docs" / "parameters.md"
HEAD = """<!-- Made by tools/parameters_table.py; do not edit. -->
# Parameters

Every key of [params.yaml](../params.yaml), by section. A section is named like its stage; `base` is for several stages,
`tune` for `./darkroom tune`, and `hardware` for the machine, which no result depends on.

Change a value in params.yaml, or for one experiment after `dvc exp run`, as in the examples. `-S` needs quotes around what a
shell would interpret; `++` sets a key that may be new, `~` removes one. Unknown keys and wrong values are refused before
anything runs. Presets ([conf/](../conf)) set several keys at once.
"""

TRAINER = """
## Lightning's Trainer

Every argument of `pytorch_lightning.Trainer`, and what `train.trainer` does with it:
`-S ++train.trainer.accumulate_grad_batches=2`. An argument that is not passed on is refused with the words of this table.

| argument | | meaning, or what to do instead |
|---|---|---|
"""

# What to write after `dvc exp run`, for every key; several where one alone would have no effect.
EXAMPLES = {
    "base.seed": "-S base.seed=1",
    "base.allow_targets": "-S 'base.allow_targets=[albumentations]'",
    "download.source": "-S download.source=folder -S download.folder=/path/to/photos",
    "download.dataset": "-S download.source=torchvision -S download.dataset=SVHN",
    "download.arguments": (
        "-S download.source=torchvision -S download.dataset=EMNIST -S '++download.arguments={split: balanced}'"
    ),
    "download.folder": "-S download.source=folder -S download.folder=s3://bucket/photos",
    "download.parts": '-S download.source=folder -S \'download.parts=["2023", "2024"]\'',
    "download.folders": "-S download.source=folder -S 'download.folders={train: 2023/all, val: 2024/spring, test: field}'",
    "download.manifest": "-S download.source=manifest -S download.manifest=labels.csv",
    "download.columns": "-S download.source=manifest -S download.manifest=labels.csv -S download.columns.group=patient",
    "download.archive": "-S download.source=archive -S download.archive=photos.zip",
    "download.sha256": "-S download.sha256=4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    "download.more_archives": (
        "-S 'download.more_archives=[{archive: more.zip, "
        "sha256: 4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c}]'"
    ),
    "download.redirect_hosts": "-S 'download.redirect_hosts=[cdn.example.com]'",
    "download.timeout_seconds": "-S download.timeout_seconds=120",
    "download.channels": "-S download.channels=4",
    "download.bands": "-S 'download.bands=[0, 1, 3]'",
    "download.resize": "-S download.resize=256",
    "download.format": "-S download.format=raw",
    "download.corrections": "-S download.corrections=labels.csv",
    "download.max_bad": "-S download.max_bad=10",
    "download.max_pixels": "-S download.max_pixels=400000000",
    "download.max_files": "-S download.max_files=5000000",
    "download.max_gigabytes": "-S download.max_gigabytes=500",
    "download.max_ratio": "-S download.max_ratio=1000",
    "split.val_fraction": "-S split.val_fraction=0.2",
    "split.test_fraction": "-S split.test_fraction=0.1",
    "split.method": "-S split.method=stable",
    "split.folds": "-S split.folds=5",
    "split.fold": "-S split.folds=5 -S split.fold=1",
    "split.group_pattern": "-S 'split.group_pattern=\"/([^_]+)_\"'",
    "split.duplicates": "-S split.duplicates=drop",
    "split.near_distance": "-S split.near_distance=null",
    "split.seed": "-S split.seed=0 -S base.seed=1",
    "train.task": "$(./darkroom preset binary) -S train.task=binary",
    "train.positive_class": "$(./darkroom preset binary) -S train.positive_class=dog",
    "train.pos_weight": "$(./darkroom preset binary) -S train.pos_weight=balanced",
    "evaluate.threshold": "$(./darkroom preset binary) -S evaluate.threshold=0.3",
    "predict.threshold": "$(./darkroom preset binary) -S predict.threshold=0.3",
    "train.model": "-S '~train.model' -S '+train.model={_target_: plugins.tiny.Tiny, width: 32}'",
    "train.model.provider": "-S train.model.provider=timm -S train.model.name=resnet18",
    "train.model.name": "-S train.model.name=small_resnet18",
    "train.model.pretrained": "-S train.model.provider=timm -S train.model.name=resnet18 -S train.model.pretrained=true",
    "train.model.kwargs": "-S '++train.model.kwargs={width: 64, dropout: 0.2}'",
    "train.model.weights": (
        "-S train.model.weights=/path/to/weights.pth "
        "-S train.model.weights_sha256=4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"
    ),
    "train.model.weights_sha256": (
        "-S train.model.weights_sha256=4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"
    ),
    "train.init_from": "-S train.init_from=$(./darkroom commit my-experiment)",
    "train.resume_from": "-S train.epochs=40 -S train.resume_from=$(./darkroom commit my-experiment)",
    "train.resume_sha256": (
        "-S train.resume_from=/path/to/last.ckpt "
        "-S train.resume_sha256=4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"
    ),
    "train.allow_noncommercial": "-S train.allow_noncommercial=true",
    "train.image_size": "-S train.image_size=224",
    "train.resize": "-S train.resize=letterbox",
    "train.preprocess": "-S 'train.preprocess=[{_target_: RandomAutocontrast, p: 1.0}]'",
    "train.lr": "-S train.lr=0.003",
    "train.epochs": "-S train.epochs=50",
    "train.batch_size": "-S train.batch_size=128",
    "train.precision": "-S train.precision=bf16-mixed",
    "train.memory_format": "-S train.memory_format=auto",
    "train.threads": "-S train.threads=8",
    "train.processes": "-S train.processes=2 -S hardware.devices=2",
    "train.compile": "-S train.compile=default",
    "train.module": "-S 'train.module={_target_: plugins.fixmatch.FixMatch, labels_per_class: 10}'",
    "train.freeze": "-S train.freeze=0.5",
    "train.unfreeze_epoch": "-S train.freeze=true -S train.unfreeze_epoch=2",
    "train.fit_head": "-S train.init_from=$(./darkroom commit HEAD) -S train.fit_head=logistic_regression",
    "train.cache_features": "-S train.freeze=true -S train.cache_features=true -S 'train.augment=[]'",
    "train.lora": "-S train.init_from=$(./darkroom commit HEAD) -S 'train.lora={rank: 4, alpha: 8}'",
    "train.loss": "-S train.loss=FocalLoss",
    "train.class_weights": "-S train.class_weights=balanced",
    "train.teacher": "-S 'train.teacher={model: 0a0635f, weight: 0.5, temperature: 2.0}'",
    "train.optimizer": "-S train.optimizer=SGD -S 'train.optimizer={_target_: SGD, momentum: 0.9}' -S train.lr=0.1",
    "train.layer_decay": "-S train.layer_decay=0.9",
    "train.lr_factors": "-S 'train.lr_factors={head: 10}'",
    "train.decay_norm_and_bias": "-S train.decay_norm_and_bias=false",
    "train.scheduler": "-S train.scheduler=OneCycleLR",
    "train.lr_table": "-S 'train.lr_table={0: 0.001, 2: 0.01}'",
    "train.augment": "-S 'train.augment=[RandomFlip, {_target_: RandomShift, pixels: 2}]'",
    "train.mixup": "-S train.mixup=0.2",
    "train.cutmix": "-S train.cutmix=1.0",
    "train.ema": "-S train.ema=0.999",
    "train.swa": "-S train.swa=0.75",
    "train.sampler": "-S train.sampler=balanced",
    "train.image_sizes": "-S 'train.image_sizes={0: 128, 20: 192}'",
    "train.metrics": "-S '++train.metrics={auroc: AUROC}'",
    "train.monitor": "-S train.monitor=val/loss",
    "train.monitor_mode": (
        "-S '++train.metrics={specificity: Specificity}' -S train.monitor=val/specificity -S train.monitor_mode=max"
    ),
    "train.early_stopping": "-S train.early_stopping.patience=5",
    "train.checkpoint": "-S train.checkpoint.every_minutes=2",
    "train.keep_best": "-S train.keep_best=3",
    "train.keep_every": "-S train.keep_every=5",
    "train.keep_states": "-S train.keep_states=true",
    "train.soup": "-S train.soup=5",
    "train.gradient_clip": "-S train.gradient_clip=1.0",
    "train.adaptive_clip": "-S train.adaptive_clip=0.01",
    "train.loggers": "-S 'train.loggers=[CSVLogger]'",
    "train.callbacks": "-S 'train.callbacks=[LearningRateMonitor]'",
    "train.log_every": "-S train.log_every=step",
    "train.inspect": "-S 'train.inspect=[histograms, inputs]'",
    "train.test_every": "-S train.test_every=5",
    "train.debug": "--temp -S train.debug=true -S train.epochs=2",
    "train.trainer": "-S '++train.trainer={limit_train_batches: 10}'",
    "evaluate.batch_size": "-S evaluate.batch_size=64",
    "evaluate.tta": "-S evaluate.tta=flip",
    "evaluate.backend": "-S evaluate.backend=openvino",
    "evaluate.precision": "-S evaluate.precision=auto",
    "evaluate.ece_bins": "-S evaluate.ece_bins=10",
    "evaluate.metrics": "-S '++evaluate.metrics={auroc: AUROC}'",
    "evaluate.num_images": "-S evaluate.num_images=64",
    "evaluate.abstain_precision": "-S evaluate.abstain_precision=0.99",
    "evaluate.false_alarms": "-S evaluate.false_alarms=0.05",
    "evaluate.conformal": "-S evaluate.conformal=0.9",
    "evaluate.explained": "-S evaluate.explained=100",
    "predict.input": "-S predict.input=/path/to/photos",
    "predict.batch_size": "-S predict.batch_size=64",
    "predict.tta": "-S predict.tta=flip",
    "predict.backend": "-S predict.backend=torch.compile",
    "predict.precision": "-S predict.precision=bf16-mixed",
    "predict.calibrated": "-S predict.calibrated=false",
    "predict.top_k": "-S predict.top_k=5",
    "predict.embeddings": "-S predict.embeddings=true",
    "predict.max_bad": "-S predict.max_bad=10",
    "predict.max_pixels": "-S predict.max_pixels=400000000",
    "tune.study": "-S tune.study=wide",
    "tune.trials": "-S tune.trials=50",
    "tune.metric": "-S tune.metric=val/loss -S tune.direction=minimize",
    "tune.direction": (
        "-S 'tune.metric=[val/accuracy, multiply_adds]' -S 'tune.direction=[maximize, minimize]' -S tune.pruner=null"
    ),
    "tune.start": "-S tune.start=my-experiment",
    "tune.search_space": "-S '++tune.search_space={train.ema: {distribution: float, low: 0.9, high: 0.999}}'",
    "tune.sampler": "-S tune.sampler=RandomSampler",
    "tune.pruner": "-S tune.pruner=null",
    "tune.seed": "-S tune.seed=1",
    "tune.timeout_minutes": "-S tune.timeout_minutes=60",
    "tune.storage": "-S tune.storage=postgresql://me@host/studies",
    "tune.jobs": "-S tune.jobs=2",
    "export.formats": "-S 'export.formats=[onnx]'",
    "export.allow_loss": "-S 'export.formats=[openvino-int8]' -S export.allow_loss=0.5",
    "hardware.accelerator": "-S hardware.accelerator=cpu",
    "hardware.devices": "-S hardware.devices=2 -S train.processes=2",
    "hardware.num_nodes": "-S hardware.num_nodes=2 -S train.processes=2",
    "hardware.strategy": "-S hardware.strategy=ddp",
    "hardware.rank_timeout_seconds": "-S hardware.rank_timeout_seconds=120",
    "hardware.worker_timeout_seconds": "-S hardware.worker_timeout_seconds=600",
    "hardware.num_workers": "-S hardware.num_workers=4",
    "hardware.cache_images": "-S hardware.cache_images=false",
    "hardware.progress_refresh": "-S hardware.progress_refresh=20",
    "hardware.states_max_days": "-S hardware.states_max_days=90",
    "hardware.states_max_share": "-S hardware.states_max_share=null",
    "hardware.watch": "-S hardware.watch=false",
}


def page() -> str:
    """Return the page in Markdown: a table for each section."""
    content = read_yaml(ROOT / "params.yaml")
    parts = [HEAD]
    for name, field in Params.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        parts.append(f"\n## {name}\n\n{section.__doc__}\n\n| key | default | meaning, example |\n|---|---|---|\n")
        parts += _rows(name, section, content[name])
    return "".join([*parts, TRAINER, *_trainer_rows()])


def _trainer_rows() -> list[str]:
    """Return a row for every argument of Lightning's Trainer."""
    meanings = _meanings(TrainerArguments)
    passed = {name: f"passed on | {meanings[name]}" for name in TrainerArguments.model_fields}
    keys = {name: f"a key here | {text}" for name, text in NOT_PASSED_ON.items() if text.startswith("set ")}
    refused = {name: f"refused | {text}" for name, text in NOT_PASSED_ON.items() if name not in keys}
    return [f"| `{name}` | {text} |\n" for name, text in sorted({**passed, **keys, **refused}.items())]


def _rows(prefix: str, section: type[Section], values: dict[str, Any]) -> list[str]:
    rows = []
    meanings = _meanings(section)
    for key in section.model_fields:
        name, value = f"{prefix}.{key}", values[key]
        rows.append(f"| `{name}` | {_shown(value)} | {meanings[key]}<br>`{EXAMPLES[name]}` |\n")
        if name == "train.model":
            rows += _rows(name, Network, value)
    return rows


def _meanings(section: type[Section]) -> dict[str, str]:
    """Return the docstrings below the keys of a section; only this page needs them, so no command reads them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    meanings = {}
    for key, text in itertools.pairwise(body.body):
        match key, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                meanings[name] = inspect.cleandoc(meaning)
    return meanings


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return f"`{value['_target_'].rpartition('.')[2]}`"
    if isinstance(value, dict | list) and value:
        return "see params.yaml"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
