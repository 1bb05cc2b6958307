"""One file of many parts: .csv, .jsonl or .parquet."""

import shutil
from collections.abc import Sequence
from pathlib import Path


def join_files(parts: Sequence[Path], out: Path, ending: str) -> None:
    """Write parts one after the other; memory does not grow with their number."""
    if len(parts) == 1:
        shutil.copyfile(parts[0], out)
    elif ending == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetWriter(out, pq.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part))
    else:
        with out.open("wb") as whole:
            for number, part in enumerate(parts):
                with part.open("rb") as file:
                    if number and ending == ".csv":
                        file.readline()  # the header, whose names hold no line break
                    shutil.copyfileobj(file, whole)
