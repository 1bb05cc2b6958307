"""The stage export: none by default, one for each format that params.yaml names, recorded and verified as every stage."""

import json
from pathlib import Path

import pytest
from clones import Finished


@pytest.mark.slow
@pytest.mark.thorough
def test_a_stage_for_each_format(finished: Finished, tmp_path: Path) -> None:
    clone = finished.copy(tmp_path / "darkroom", cold=True)
    assert "up to date" in clone.run("dvc repro export").stdout
    refused = clone.run("python src/export.py", status=2).stderr
    assert refused == "error: params.yaml: export.formats: is empty, so there is nothing to export; set it, such as to [onnx]\n"
    clone.edit({"formats: []": "formats: [torch]"})
    assert clone.stages_that_would_run() == ["export@torch"]
    clone.run("dvc repro")
    folder = clone.path / "models" / "exported" / "torch"
    assert {path.name for path in folder.iterdir()} == {"model.pt2", "about.json", "parity.json", "run.json"}
    record = json.loads((clone.path / "metrics" / "export" / "torch.json").read_text())
    assert record["other_decisions"] == 0
    assert record["images"] > 0
    assert "other_decisions" in clone.run("dvc metrics show").stdout
    assert clone.run("git status --porcelain models").stdout == "", "DVC's cache has the files, not Git"
    clone.run("./darkroom verify --all && ./darkroom verify --lock")
    assert "up to date" in clone.run("dvc status").stdout
    (folder / "model.pt2").unlink()  # which DVC may have linked to its cache
    (folder / "model.pt2").write_bytes(b"another")
    assert "models/exported/torch: differs from the output of export@torch" in clone.run("./darkroom verify", status=1).stdout
    clone.run("dvc checkout --force models/exported/torch")
    clone.edit({"formats: [torch]": "formats: []"})
    clone.run("dvc repro && ./darkroom verify --lock")
