"""The JSON that the server answers, as its OpenAPI describes it. No torch."""

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Identity(_Answer):
    """Which model answers."""

    name: str
    """As `--model` names it."""
    weights_sha256: str
    """Hash of its weights, as in model.json."""
    version: str
    """Of Darkroom."""


class About(Identity):
    """What is known of a model."""

    title: str
    """Folder, commit or registered version that it was opened from."""
    task: str
    """`multiclass`, `multilabel` or `binary`."""
    classes: list[str]
    """Class names."""
    image_size: list[int]
    """Height and width of what the network sees."""
    channels: int
    """1 (grey), 3 (RGB) or the number of bands."""
    backend: dict[str, str | float]
    """Backend, precision and temperature."""


class Ranked(_Answer):
    """A class with its probability."""

    class_: str = Field(alias="class")
    """Its name."""
    probability: float
    """From 0 to 1; calibrated, if the model is."""


class Prediction(Ranked):
    """What a model says of an image, as `./darkroom predict --out FILE.jsonl` writes it; `class` may be `unknown`."""

    name: str
    """Of the file."""
    top: list[Ranked]
    """The most probable classes, the most probable first."""
    classes: list[str] | None = None
    """Of several labels: those that are predicted."""
    why: list[str] | None = None
    """Why the class is `unknown`: `foreign`, `uncertain`."""
    foreign: float | None = None
    """Distance from the images that were trained on; above 1 it is of none of the classes."""
    set: list[str] | None = None
    """The conformal set."""


class Predicted(_Answer):
    """Predictions, in the order of the images."""

    model: Identity
    predictions: list[Prediction]


class Near(_Answer):
    """A training image that is near."""

    id: str
    class_: str = Field(alias="class")
    similarity: float
    """Cosine between the features before the last layer."""
    image: str
    """data: address of a PNG."""


class Explained(_Answer):
    """What explains a prediction."""

    model: Identity
    explained: str
    """The class that the heat speaks for."""
    image: str
    """What the network sees, as the data: address of a PNG."""
    heat: str | None
    """The same with heat; null: the network has no layer with places."""
    nearest: list[Near]
    """The nearest training images, if they are here."""


class Kept(_Answer):
    """A correction that was kept."""

    table: str
    """`manifest.csv`, or `corrections.csv` for an image of data/raw."""
    label: str
    path: str | None = None
    id: str | None = None


class Health(_Answer):
    """Whether the server is ready."""

    status: str
    """`ready`."""
    models: list[str]


class Refusal(_Answer):
    """Why a request is refused."""

    error: str
    """What is wrong, and what to do."""
    limit: str
    """The limit, for programs: `max_bytes`, `max_pixels`, `max_images`, `max_queue`, `timeout`, `type`, `image`, `token`, …"""
