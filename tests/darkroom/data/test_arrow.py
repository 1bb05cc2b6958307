"""A stage runs without pandas; what needs it gets it."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys; sys.path.insert(0, "src")
from darkroom.data.arrow import leave_pandas_out
leave_pandas_out()
import numpy as np, pyarrow as pa
table = pa.table({"name": pa.array(["a", None]), "number": pa.array(np.arange(2.0))}).take(pa.array([1, 0]))
assert table["name"].to_pylist() == [None, "a"]
assert "pandas" not in sys.modules
frame = table.to_pandas()
import pandas
assert isinstance(frame, pandas.DataFrame)
assert pa.array(frame["number"]).to_pylist() == [1.0, 0.0]
assert pa.Table.from_pandas(frame).column_names == ["name", "number"]
"""


def test_pyarrow_finds_pandas_only_when_it_is_asked_for() -> None:
    subprocess.run([sys.executable, "-c", CODE], cwd=Path(__file__).resolve().parents[3], check=True)
