"""Every mistake in params.yaml is one line that names the key and how to fix it."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Network, Params, Target, published_name
from darkroom.base.params_file import check_params, load_params, load_sections
from darkroom.base.yaml_file import read_yaml

REMOVED = object()


def test_the_repository_file_is_valid(make_params: Callable[..., Params]) -> None:
    params = make_params()
    assert isinstance(params.train.model, Network)
    assert params.train.loss.target == "torch.nn.CrossEntropyLoss"
    assert params.train.loss.arguments == {"label_smoothing": 0.05}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.lrr", 1, "params.yaml: train.lrr: unknown key; did you mean 'lr'?"),
        (
            "train.qqqq",
            1,
            "params.yaml: train.qqqq: unknown key; known keys here: task, positive_class, model, init_from, resume_from",
        ),
        ("hardwar", {}, "params.yaml: hardwar: unknown key; did you mean 'hardware'?"),
        ("train.model.nam", "x", "params.yaml: train.model.nam: unknown key; did you mean 'name'?"),
        ("tune.search_space", {"train.lr": {"hgh": 1}}, "tune.search_space.train.lr.hgh: unknown key; did you mean 'high'?"),
        ("download.more_archives", [{"archve": "x"}], "download.more_archives.0.archve: unknown key; did you mean 'archive'?"),
        ("train.early_stopping.patienc", 1, "train.early_stopping.patienc: unknown key; did you mean 'patience'?"),
        ("train.lr", REMOVED, "params.yaml: train.lr: is missing; add it"),
        ("train.model.name", REMOVED, "params.yaml: train.model.name: is missing; add it"),
        ("hardware", REMOVED, "params.yaml: hardware: is missing; add it"),
        ("train.augment", [{"pixels": 1}], "params.yaml: train.augment.0._target_: is missing"),
        ("train.lr", -1, "params.yaml: train.lr: is -1, but should be greater than 0"),
        ("train.lr", "1e-3", 'params.yaml: train.lr: is "1e-3", but should be a valid number'),
        ("train.lr", float("nan"), "params.yaml: train.lr: is NaN, but should be a finite number"),
        ("train.lr", float("inf"), "params.yaml: train.lr: is Infinity, but should be a finite number"),
        ("train.epochs", 1.5, "params.yaml: train.epochs: is 1.5, but should be a valid integer"),
        ("train.epochs", True, "params.yaml: train.epochs: is true, but should be a valid integer"),
        ("train.epochs", None, "params.yaml: train.epochs: is null, but should be a valid integer"),
        (
            "train.model.provider",
            "keras",
            "train.model.provider: is \"keras\", but should be 'builtin', 'timm', 'torchvision' or 'huggingface'",
        ),
        ("train.model", {"_target_": "o s"}, 'params.yaml: train.model._target_: is "o s", but should be an import path'),
        ("train.model", 3, "params.yaml: train.model: is 3, but should be a mapping"),
        pytest.param(
            *("train.epochs", 16**5000, "train.epochs: is a number of thousands of digits, but should be less than 2147483648"),
            id="digits",
        ),
        ("train.epochs", [16**5000], "params.yaml: train.epochs: is a list, but should be a valid integer"),
        ("train.lr", {date(2026, 1, 1): 1}, "params.yaml: train.lr: is a mapping, but should be a valid number"),
        (
            "train.monitor",
            "val/acc",
            "params.yaml: train.monitor: is val/acc, which is not measured; did you mean 'val/accuracy'?",
        ),
        (
            "train.monitor",
            "val/q",
            "train.monitor: is val/q, which is not measured; use one of val/loss, val/accuracy, val/balanced",
        ),
        ("train.monitor", "loss", 'train.monitor: is "loss", but should be val/ and the name of a metric'),
        (
            "train.monitor",
            "train/loss",
            "train.monitor: is train/loss, which is not measured with the weights that are published; use one such as val/loss, "
            "or set train.early_stopping.monitor to it",
        ),
        (
            "train.early_stopping.monitor",
            "train/los",
            "train.early_stopping.monitor: is train/los, which is not measured; did you mean 'train/loss'?",
        ),
        ("train.monitor_mode", "most", "train.monitor_mode: is \"most\", but should be 'min' or 'max'"),
        ("train.lr_factors", {"stem": -0.1}, "train.lr_factors.stem: is -0.1, but should be greater than or equal to 0"),
        (
            "train.metrics",
            {"f1-macro": "AUROC"},
            'train.metrics.f1-macro: is "f1-macro", but should be a name of letters, digits and _',
        ),
        (
            "train.metrics",
            {"Loss": "AUROC"},
            "train.metrics.Loss: is the name of a metric that is always measured; choose another",
        ),
        ("evaluate.metrics", {"ece": "AUROC"}, "evaluate.metrics.ece: is the name of a metric that is always measured"),
        ("evaluate.ece_bins", 10**8, "evaluate.ece_bins: is 100000000, but should be less than or equal to 1000"),
        ("hardware.num_workers", 10**6, "hardware.num_workers: is 1000000, but should be 'auto' or less than or equal to 1000"),
        ("train.epochs", 2**63, "train.epochs: is 9223372036854775808, but should be less than 2147483648"),
        (
            "hardware.worker_timeout_seconds",
            1e300,
            "hardware.worker_timeout_seconds: is 1e+300, but should be less than or equal to",
        ),
        ("train.soup", 1, "train.soup: is 1, but should be greater than or equal to 2"),
        ("train.keep_best", 0, "train.keep_best: is 0, but should be greater than or equal to 1"),
        ("train.optimizer.lr", 1, "params.yaml: train.optimizer.lr: is not allowed here; set train.lr"),
        ("train.model.kwargs", {"x": float("inf")}, "params.yaml: train.model.kwargs: inf is not a finite number"),
        ("train.model.kwargs", {3: "x"}, "should be a valid string"),
        (
            "train.trainer",
            {3: "x"},
            "train.trainer.3: Lightning's Trainer takes no such argument; it takes accumulate_grad_batches",
        ),
        ("train.trainer", {"max_epoch": 3}, "Lightning's Trainer takes no such argument; did you mean 'max_epochs'?"),
        ("train.trainer", {"max_epochs": 3}, "params.yaml: train.trainer.max_epochs: cannot be set here; set train.epochs"),
        ("train.trainer", {"limit_val_batches": 1.5}, "train.trainer.limit_val_batches: is 1.5, but should be"),
        (
            "train.trainer",
            {"max_time": "10:00"},
            "train.trainer.max_time: is \"10:00\", but should be a time such as '00:12:00:00'",
        ),
        ("train.precision", 17, "train.precision: is 17, but should be '32-true', 'bf16-mixed', '16-mixed'"),
        ("train.log_every", 0, "train.log_every: is 0, but should be 'epoch' or 'step' or greater than or equal to 1"),
        ("hardware.devices", [0, 0], "[0, 0] names one device twice; name each once"),
        ("hardware.progress_refresh", -1, "hardware.progress_refresh: is -1, but should be greater than or equal to 0"),
        ("hardware.num_workers", -1, "hardware.num_workers: is -1, but should be 'auto' or greater than or equal to 0"),
        ("split.val_fraction", 1.9, "params.yaml: split.val_fraction: is 1.9, but should be less than 1"),
        ("split.val_fraction", 0.9, "which leaves nothing to train on"),
        ("download.source", "archive", "params.yaml: download.archive: is null, but download.source is archive; set it"),
        ("download.sha256", "xx", 'params.yaml: download.sha256: is "xx", but should be 64 hexadecimal digits'),
        ("base.seed", -1, "params.yaml: base.seed: is -1, but should be greater than or equal to 0"),
    ],
)
def test_mistakes_name_the_key_and_the_fix(content: dict[str, Any], key: str, value: Any, message: str) -> None:
    *sections, last = key.split(".")
    place = content
    for section in sections:
        place = place[section]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(InputError) as caught:
        check_params(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checksums_may_be_written_in_capitals(content: dict[str, Any]) -> None:
    content["download"] |= {"source": "archive", "archive": "x.zip", "sha256": "AB" * 32}
    assert check_params(content).download.sha256 == "ab" * 32


def test_further_mistakes_are_counted(content: dict[str, Any]) -> None:
    content["train"]["lr"] = -1
    content["train"]["epochs"] = 0
    with pytest.raises(InputError, match=r"train\.lr: .* \(and 1 more\)$"):
        check_params(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", 'params.yaml:2: found duplicate key "a"; remove one of the two'),
        ("a: [1\n", "params.yaml:2: is not YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "params.yaml:1: is not YAML"),
        ("a: &x [*x]\n", "params.yaml:1: is not YAML (the alias *x is not supported)"),
        ("a: &x 1\nb: *x\n", "params.yaml:2: is not YAML (the alias *x is not supported)"),
        ("base: {[1]: 2}\n", "params.yaml: "),
        ("- 1\n", "params.yaml: is not a mapping of sections"),
        ("", "params.yaml: is not a mapping of sections"),
        ("train:\n\tlr: 1\n", "is not YAML"),
    ],
)
def test_text_that_is_no_parameters(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(tmp_path / "params.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InputError, match="is not UTF-8 at byte 3"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(InputError, match="does not exist; restore it"):
        load_params(tmp_path / "nothing.yaml")


def test_yaml_1_2_numbers(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("lr: 0.01", "lr: 3e-05"), encoding="utf-8")
    assert load_params(tmp_path / "params.yaml").train.lr == 3e-5


def test_the_content_of_a_file_is_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: {b: [1]}")
    read_yaml(path)["a"]["b"].append(2)
    assert read_yaml(path) == {"a": {"b": [1]}}
    path.write_text("a: 2")
    assert read_yaml(path) == {"a": 2}


def test_a_target_keeps_its_arguments_apart() -> None:
    target = Target.model_validate({"_target_": "torch.optim.SGD", "momentum": 0.9})
    assert (target.target, target.arguments) == ("torch.optim.SGD", {"momentum": 0.9})


def test_half_a_character_is_refused(make_params: Callable[..., Params]) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: contains '\\ud800', half a character; remove it$"):
        make_params({"train.model.kwargs": {"act": "\ud800"}})


@pytest.mark.parametrize("key", ["folder: data/photos", "train.lr: {distribution: float, low: 0.001, high: 0.1, log: true}"])
def test_half_a_character_beside_another_mistake(key: str, tmp_path: Path) -> None:
    text = paths.PARAMS.read_text(encoding="utf-8").replace(key, f'{key.partition(":")[0]}: "\\ud800"', 1)
    (tmp_path / "params.yaml").write_text(text.replace("val_fraction: 0.1", "val_fraction: much"), encoding="utf-8")
    with pytest.raises(InputError):
        load_sections(tmp_path / "params.yaml", "download", "split", "train", "predict").split.model_dump()


def test_a_number_that_python_does_not_write(content: dict[str, Any]) -> None:
    content["train"]["model"]["kwargs"] = {"width": 16**5000}
    with pytest.raises(InputError, match=r"params\.yaml: contains a number of thousands of digits; lower it"):
        check_params(content)


@pytest.mark.parametrize(
    ("short", "precision"), [(16, "16-mixed"), ("16", "16-mixed"), (32, "32-true"), (64, "64-true"), ("bf16", "bf16-mixed")]
)
def test_a_short_precision_is_that_of_lightning(make_params: Callable[..., Params], short: Any, precision: str) -> None:
    assert make_params({"train.precision": short}).train.precision == precision


def test_only_the_arguments_that_are_given_are_recorded(make_params: Callable[..., Params]) -> None:
    """model.json and the state of a training hold the parameters: a new argument changes neither."""
    assert make_params().model_dump()["train"]["trainer"] == {}
    given = {"max_steps": 5, "check_val_every_n_epoch": None, "limit_val_batches": 1.0}
    trainer = make_params({"train.trainer": {**given, "min_steps": None}}).train.trainer
    assert trainer.model_dump() == trainer.given == given


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"  lr: 0.01": "  lr: high"}, {"train"}),
        ({"monitor: val/accuracy  ": "monitor: val/acc  "}, {"train"}),  # a mistake in how keys go together
        ({"base:": "trian: {lr: 0.1}\nbase:"}, set()),
        ({"top_k: 3": "top_k: 0"}, {"predict"}),
        ({"split:\n": "splt:\n"}, {"split"}),
        ({"cache_images: auto": "hold_pictures: auto"}, {"hardware"}),
        ({"  top_k: 3": "  top_k: 0", "  lr: 0.01": "  lr: high"}, {"train", "predict"}),
    ],
)
def test_a_mistake_stops_only_what_needs_its_section(
    changes: dict[str, str], refused: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = paths.PARAMS.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    for section in Params.model_fields:
        if section in refused:
            with pytest.raises(InputError):
                load_sections(path, section)
        else:
            params = load_sections(path, section)
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("warning: ")
            assert line.endswith("; this command does not need it")
            assert getattr(params, section) is not None
            for other in refused:
                with pytest.raises(InputError, match=r"params.yaml: "):
                    getattr(params, other)


@pytest.mark.parametrize("text", ["base: [", "[]", "seed: \0", "{}"])
def test_what_is_no_params_file_stops_every_command(text: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"params.yaml"):
        load_sections(tmp_path / "params.yaml", "predict")


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"train.image_sizes": {0: 8, 3: 16}}, 4),
        ({"train.lr_table": {0: 0.1, 5: 0.01}}, 6),
        ({"train.freeze": True, "train.unfreeze_epoch": 3}, 4),
        ({"train.keep_every": 4}, 4),
        ({"train.test_every": 5}, 5),
    ],
)
def test_an_epoch_that_never_comes_is_told(
    make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], needed: int
) -> None:
    make_params({"train.epochs": needed} | changes)
    assert capsys.readouterr().err == ""
    make_params({"train.epochs": needed - 1} | changes)
    key = list(changes)[-1]
    told = f"params.yaml: {key} needs {needed} epochs to have its effect, but train.epochs is {needed - 1}"
    assert capsys.readouterr().err.count(told) == 1


def test_of_many_names_the_first_are_listed(content: dict[str, Any]) -> None:
    content["train"]["qqqq"] = 1
    with pytest.raises(InputError, match=r"known keys here: task, .*, … \(\d\d in all\)$"):
        check_params(content)


def test_the_published_value_of_the_loss_is_not_called_like_the_cross_entropy(make_params: Callable[..., Params]) -> None:
    assert [published_name(name) for name in ("val/loss", "loss", "val/accuracy", "auroc")] == [
        "criterion",
        "criterion",
        "accuracy",
        "auroc",
    ]
    with pytest.raises(InputError, match=r"train\.metrics\.criterion: is the name of a metric that is always measured"):
        make_params({"train.metrics": {"criterion": "AUROC"}})
