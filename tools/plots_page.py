"""Make .dvc/plots_page.html, the page of `dvc plots` that needs no network: `python tools/plots_page.py`. Needs npm.

DVC's own page loads these three libraries from a CDN (dvc_render/vega.py names the versions) and is blank offline.
"""

import base64
import hashlib
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / ".dvc" / "plots_page.html"

# Integrity as the npm registry gives it: `npm view vega@5.20.2 dist.integrity`.
LIBRARIES = {
    "vega@5.20.2": "sha512-qmH7aD9GGPpssVdxL1xgcdxTbQzyRUeRR16Os385ymvQhiwCYQNA6+eXUPAZDTVLfk0RXu6Jzj6kUE5jQ80EVw==",
    "vega-lite@5.2.0": "sha512-Yxcg8MvYfxHcG6BbkaKT0oVCIMIcE19UvqIsEwBmyd/7h2nzW7oRnID81T8UrY7hpDrIr6wa2JADOT2dhGNErw==",
    "vega-embed@6.18.2": "sha512-wcDyQPE4J5aiCDc3/suH5RQDvrKkjuLkhzUcbOLwEkNF8/+pp17tS0JghzEvAPNRg+5aG1/N2ydixq8Lk3dOlg==",
}

# DVC fills in {refresh_tag} and {plot_divs}. It offers its CDN scripts for a third placeholder, which is not here.
HEAD = """<!DOCTYPE html>
<!-- Made by tools/plots_page.py; do not edit. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>Darkroom plots</title>
<style>
body { margin: 0 auto; max-width: 1900px; padding: 24px; background: #fff; color: #1f2937; font: 15px/1.4 system-ui, sans-serif; }
h1 { margin: 0 0 16px; font-size: 22px; font-weight: 600; }
main { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
/* DVC writes the borders of images into style attributes. */
main > div { box-sizing: border-box; max-width: 100%; overflow-x: auto; padding: 16px !important;
  border: 1px solid #e5e7eb !important; border-radius: 6px; white-space: normal !important;
  text-align: left !important; }
main > div > div { border: 0 !important; margin: 0 16px 0 0 !important; vertical-align: top; }
main p { margin: 0 0 8px; }
img { max-width: none; }
.vega-embed.has-actions { padding-right: 34px; }
.vega-bindings { color: #6b7280; font-size: 12px; }
</style>
"""
BODY = """</head>
<body>
<h1>Darkroom plots</h1>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def main() -> None:
    """Fetch the libraries, check them and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = "".join(script(fetch(package, integrity, Path(folder))) for package, integrity in LIBRARIES.items())
    page = HEAD + scripts + BODY
    assert page.count("{plot_divs}") == page.count("{refresh_tag}") == 1
    assert "{scripts}" not in page
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: {len(page) / 1e6:.2f} MB with {', '.join(LIBRARIES)}")


def fetch(package: str, integrity: str, folder: Path) -> Path:
    """Download one package of npm and check it against the integrity that is written here."""
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = folder / f"{package.replace('@', '-')}.tgz"
    seen = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if seen != integrity:
        raise SystemExit(f"error: {package}: npm sent {seen}, but {integrity} is expected; nothing was written")
    return archive


def script(archive: Path) -> str:
    """Return a library as a script element, with its version and licence in front."""
    name = re.sub(r"-[\d.]+$", "", archive.stem)
    with tarfile.open(archive) as tar:
        code, licence = (read(tar, f"package/{path}") for path in (f"build/{name}.min.js", "LICENSE"))
    # Inside a script element a browser looks for nothing but these.
    assert not re.search(r"</script|<!--", code, re.IGNORECASE)
    assert "*/" not in licence
    code = re.sub(r"\n//# sourceMappingURL=.*\n*$", "\n", code)
    return f"<script>\n/*! {archive.stem}\n\n{licence.strip()}\n*/\n{code.strip()}\n</script>\n"


def read(tar: tarfile.TarFile, path: str) -> str:
    """Return the text of one member."""
    member = tar.extractfile(path)
    assert member is not None, path
    return member.read().decode("utf-8")


if __name__ == "__main__":
    main()
