"""Trainings in Elasticsearch, for Kibana: a document for each parameter and each value of a metric, sent in bulk."""

import math
import os
from datetime import UTC, datetime
from typing import Any


class ElasticsearchLogger:
    """Writes to `index`; $ELASTIC_API_KEY opens it. Identifiers are fixed, so that what is sent twice is there once."""

    def __init__(self, run_name: str, url: str = "http://127.0.0.1:9200", index: str = "darkroom"):
        from elasticsearch import Elasticsearch, helpers

        self.client = Elasticsearch(url, api_key=os.environ.get("ELASTIC_API_KEY"), request_timeout=5, max_retries=0)
        self.bulk, self.index, self.run, self.documents = helpers.bulk, index, run_name, []

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Add `param` and its `text`, of numbers also the `value`."""
        for name, value in params.items():
            is_number = isinstance(value, int | float) and math.isfinite(value)
            self._add(param=name, text=str(value), **({"value": float(value)} if is_number else {}))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add `metric`, `step` and `value`; Elasticsearch has no NaN."""
        for name, value in metrics.items():
            if math.isfinite(value):
                self._add(metric=name, step=step, value=float(value))

    def _add(self, **content: Any) -> None:
        name = " ".join(str(content[key]) for key in ("param", "metric", "step") if key in content)
        document = {"@timestamp": datetime.now(UTC).isoformat(), "run": self.run, **content}
        self.documents.append({"_index": self.index, "_id": f"{self.run} {name}", "_source": document})

    def save(self) -> None:
        """Send what was added."""
        self.bulk(self.client, self.documents)
        self.documents = []
