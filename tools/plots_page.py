"""Make .dvc/plots_page.html, the page of `dvc plots` that needs no network: `python tools/plots_page.py`.

DVC's own page loads these three libraries from a CDN (dvc_render/vega.py names the versions) and is blank offline. They are
fetched with npm if the page does not have them yet.
"""

import base64
import hashlib
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / ".dvc" / "plots_page.html"
# What the page looks like, and what arranges it; the colours are those of the pages that commands write.
STYLE, ARRANGEMENT = (Path(__file__).with_suffix(suffix) for suffix in (".css", ".js"))
COLOURS = PAGE.parents[1] / "src" / "darkroom" / "pages" / "page.css"

# Integrity as the npm registry gives it: `npm view vega@5.20.2 dist.integrity`.
LIBRARIES = {
    "vega@5.20.2": "sha512-qmH7aD9GGPpssVdxL1xgcdxTbQzyRUeRR16Os385ymvQhiwCYQNA6+eXUPAZDTVLfk0RXu6Jzj6kUE5jQ80EVw==",
    "vega-lite@5.2.0": "sha512-Yxcg8MvYfxHcG6BbkaKT0oVCIMIcE19UvqIsEwBmyd/7h2nzW7oRnID81T8UrY7hpDrIr6wa2JADOT2dhGNErw==",
    "vega-embed@6.18.2": "sha512-wcDyQPE4J5aiCDc3/suH5RQDvrKkjuLkhzUcbOLwEkNF8/+pp17tS0JghzEvAPNRg+5aG1/N2ydixq8Lk3dOlg==",
}

# DVC fills in {refresh_tag} and {plot_divs}. It offers its CDN scripts for a third placeholder, which is not here.
# Nothing is loaded but the images beside the page. Vega makes functions of the expressions in a chart: hence unsafe-eval.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: file: 'self'; "
    "base-uri 'none'; form-action 'none'"
)
HEAD = f"""<!DOCTYPE html>
<!-- Made by tools/plots_page.py; do not edit. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{{refresh_tag}}
<link rel="icon" href="data:,">
<title>Darkroom plots</title>
"""
BODY = """</head>
<body>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def main() -> None:
    """Fetch the libraries, check them and write the page."""
    scripts = kept() or fetched()
    arrangement = ARRANGEMENT.read_text(encoding="utf-8")
    assert not ends_script(arrangement)
    style = palette() + STYLE.read_text(encoding="utf-8")
    page = HEAD + f"<style>\n{style}</style>\n" + scripts + f"<script>\n{arrangement}</script>\n" + BODY
    assert page.count("{plot_divs}") == page.count("{refresh_tag}") == 1
    assert "{scripts}" not in page
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: {len(page) / 1e6:.2f} MB with {', '.join(LIBRARIES)}")


def palette() -> str:
    """Return the colours of the pages, light and dark."""
    found = re.findall(
        r"^(?:@media \(prefers-color-scheme: dark\) \{\n  )?:root \{.*?^\}\n", COLOURS.read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(found) == 2, f"{COLOURS} has {len(found)} palettes"
    return "".join(found)


def kept() -> str:
    """Return the scripts of the libraries in the page that is there; nothing if it has others."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found = re.findall(r"<script>\n/\*! (\S+)\n.*?</script>\n", text, re.DOTALL)
    scripts = re.findall(r"<script>\n/\*! \S+\n.*?</script>\n", text, re.DOTALL)
    return "".join(scripts) if found == [name.replace("@", "-") for name in LIBRARIES] else ""


def fetched() -> str:
    """Return the scripts of the libraries from npm."""
    with tempfile.TemporaryDirectory() as folder:
        return "".join(script(fetch(package, integrity, Path(folder))) for package, integrity in LIBRARIES.items())


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
    assert not ends_script(code)
    assert "*/" not in licence
    code = re.sub(r"\n//# sourceMappingURL=.*\n*$", "\n", code)
    return f"<script>\n/*! {archive.stem}\n\n{licence.strip()}\n*/\n{code.strip()}\n</script>\n"


def ends_script(code: str) -> bool:
    """Return whether code has what a browser looks for inside a script element."""
    return re.search(r"</script|<!--", code, re.IGNORECASE) is not None


def read(tar: tarfile.TarFile, path: str) -> str:
    """Return the text of one member."""
    member = tar.extractfile(path)
    assert member is not None, path
    return member.read().decode("utf-8")


if __name__ == "__main__":
    main()
