"""Make the README's images from two real runs: `python tools/readme_images.py`. Needs Chromium; takes two or three minutes.

In a clone of the last commit, trains the default network and a smaller one, then writes docs/images/plots.png, the page of
`dvc plots diff`, and docs/images/mistakes.png, the smaller network's most confident mistakes. Uncommitted changes are not seen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A network that makes enough mistakes to fill a sheet.
SMALLER = "++train.model.kwargs.width=4"
# The headline and the first row of curves.
WIDTH, HEIGHT = 1280, 945
MAX_KIB = 300


def main() -> None:
    """Train, draw and write both images."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"error: no browser is installed; install one of {', '.join(BROWSERS)}")
    author = ("-c", "user.name=Darkroom", "-c", "user.email=darkroom@localhost")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        clone, page = Path(folder, "darkroom"), Path(folder, "page")
        run("git", "clone", "--quiet", str(ROOT), str(clone), where=ROOT)
        run("dvc", "repro", where=clone)
        run("git", "add", "--all", where=clone)
        run("git", *author, "commit", "--quiet", "-m", "Default", where=clone)
        run("git", "tag", "default", where=clone)
        run("dvc", "exp", "run", "-S", SMALLER, where=clone)
        run("dvc", "plots", "diff", "default", "workspace", "--out", str(page), where=clone)
        shot = Path(folder, "shot.png")
        take_screenshot(browser, page / "index.html", shot)
        save(Image.open(shot), IMAGES / "plots.png")
        save(Image.open(clone / "metrics" / "evaluate" / "images" / "mistakes.png"), IMAGES / "mistakes.png")
    kib = sum(path.stat().st_size for path in IMAGES.glob("*.png")) / 1024
    print(f"{IMAGES.relative_to(ROOT)}: {kib:.0f} KiB")
    if kib > MAX_KIB:
        raise SystemExit(f"error: the images have more than {MAX_KIB} KiB; lower WIDTH or HEIGHT")


def run(*command: str, where: Path) -> None:
    """Run a command of this environment; its output is shown only if it fails."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def take_screenshot(browser: str, page: Path, out: Path) -> None:
    """Draw the upper part of a page."""
    # A browser that runs as root, as in containers, refuses to start with its sandbox; the page is our own.
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=20000")
    run(browser, *options, f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={out}", page.as_uri(), where=out.parent)


def save(image: Image.Image, out: Path) -> None:
    """Write an image with 64 colours, which charts do not exceed visibly."""
    image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main()
