"""What the server measures of itself, as text for Prometheus. No torch.

References
----------
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Measured:
    """Counters and histograms of one server.

    Attributes
    ----------
    requests
        Requests by path and status.
    refusals
        Refused requests by the limit that refused them.
    batches
        Images of a batch, by model.
    seconds
        Seconds of each step: `decode` and `wait` of an image, `network` of a batch, `request` of a request.
    open
        Requests that are being answered.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of use to nobody here
        self._registry = CollectorRegistry()
        here: dict[str, Any] = {"registry": self._registry, "namespace": "darkroom"}
        self.requests = Counter("requests", "Requests that were answered.", ("path", "status"), **here)
        self.refusals = Counter("refusals", "Requests that were refused.", ("limit",), **here)
        self.batches = Histogram("batch_images", "Images of a batch.", ("model",), buckets=IMAGES, **here)
        self.seconds = Histogram("seconds", "Seconds of each step.", ("step",), buckets=SECONDS, **here)
        self.open = Gauge("open_requests", "Requests that are being answered.", **here)
        self._models = Gauge("model_info", "The models that answer.", ("name", "weights_sha256", "version"), **here)

    def name_model(self, name: str, weights_sha256: str, version: str) -> None:
        """Say that a model answers."""
        self._models.labels(name, weights_sha256, version).set(1)

    def text(self) -> bytes:
        """Return all of it."""
        return generate_latest(self._registry)
