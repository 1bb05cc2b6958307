"""What the Hugging Face hub reads of the card of a model: licence, tags, data set, and the results as a model-index."""

import re
from collections.abc import Mapping
from typing import Any

from darkroom.reporting.card_text import licence_id, short_name, words

Content = Mapping[str, Any]

ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")
# Names of the hub (https://huggingface.co/metrics), and how it shows them; others keep their own.
HUB_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "f1_macro": ("f1", "F1 (macro)"),
    "f1_weighted": ("f1", "F1 (weighted)"),
    "f1": ("f1", "F1"),
    "precision": ("precision", "Precision"),
    "precision_macro": ("precision", "Precision (macro)"),
    "recall": ("recall", "Recall"),
    "recall_macro": ("recall", "Recall (macro)"),
    "auroc": ("roc_auc", "ROC AUC"),
    "brier": ("brier_score", "Brier score"),
    "top5_accuracy": ("top_5_accuracy", "Top-5 accuracy"),
    "ece": ("ece", "Expected calibration error"),
}


def metadata(model: Content, dataset: Content, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return what the hub reads of the card of a model, with the results in its model-index.

    References
    ----------
    https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    name, on_hub = (
        words(short_name(dataset)),
        dataset.get("source") == "huggingface" and ON_HUB.fullmatch(str(dataset.get("name"))),
    )
    licences = _licences(model)
    test = metrics.get("test", {})
    named = {key: HUB_METRICS.get(key, (words(key), words(key.replace("_", " ").capitalize()))) for key in test}
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": dataset["name"] if on_hub else "image-folder", "name": name, "split": "test"},
        "metrics": [{"type": named[key][0], "value": value, "name": named[key][1]} for key, value in test.items()],
    }
    return {
        "license": licence_id(licences[0]) if len(set(licences)) == 1 else "other" if licences else "unknown",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "darkroom"],
        **({"datasets": [dataset["name"]]} if on_hub else {}),
        "metrics": list(dict.fromkeys(metric for key, (metric, _) in named.items() if key in HUB_METRICS)),
        "model-index": [{"name": f"{words(network_name(model))} on {name}", "results": [result]}],
    }


def _licences(model: Content) -> list[str]:
    """Return the licences of the weights that the training began with or learnt from."""
    origins = [model.get(key) for key in ("origin", "teacher")]
    return [str(origin.get("licence") or "unknown") for origin in origins if origin]


def network_name(model: Content) -> str:
    """Return the name of a network, or of its class."""
    network = model["network"]
    return str(network.get("name") or str(network.get("_target_")).rpartition(".")[2])
