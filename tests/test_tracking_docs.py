"""The servers that docs/tracking.md starts are what it says: options that MLflow has, versions that are pinned, no open door."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = {name: read_yaml(ROOT / "docs" / name / "compose.yaml")["services"] for name in ("mlflow", "sacred")}


def pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)$", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_takes_the_options_of_its_container() -> None:
    """And the server has the version of the client."""
    from mlflow.cli import server

    service = COMPOSE["mlflow"]["mlflow"]
    assert f"mlflow=={pinned('mlflow-skinny')} " in service["build"]["dockerfile_inline"]
    program, name, *options = shlex.split(service["command"])
    context = server.make_context(name, options)
    assert (program, context.params["artifacts_destination"]) == ("mlflow", "s3://mlflow")
    assert context.params["backend_store_uri"].startswith("postgresql+psycopg://mlflow:")


@pytest.mark.parametrize("services", COMPOSE.values(), ids=list(COMPOSE))
def test_images_have_versions_and_ports_are_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    assert images
    assert all(re.search(r":[\w.-]*\d", image) for image in images)
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))


def test_services_wait_for_those_that_exist_and_no_password_is_written_down() -> None:
    services = COMPOSE["mlflow"]
    assert {name for service in services.values() for name in service.get("depends_on", [])} <= set(services)
    given = {
        str(value) for service in services.values() for key, value in service.get("environment", {}).items() if "PASSWORD" in key
    }
    assert given
    assert all(value.startswith("${MLFLOW_PASSWORD") for value in given)
