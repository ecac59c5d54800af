"""Make the pictures of the documentation: Nautilus in the products of `eofs demo`, on a screen that nobody sees.

The desktop is that of the tests:  PYTHONPATH=tests python scripts/make_screenshots.py [DIRECTORY]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import OFFLINE, TITLES, begin, environment, until
from desktop import Desktop

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = "890x550"  # of a new window of Nautilus, in pixels
COLOURS = 128


def picture(desktop: Desktop) -> bytes:
    """Return the screen, in PNG."""
    return subprocess.run(
        ["import", "-window", "root", "png:-"], env=desktop.env, capture_output=True, check=True
    ).stdout


def drawn(desktop: Desktop) -> bytes:
    """Return the screen when it has been the same for two seconds."""
    before, since = picture(desktop), time.monotonic()
    while time.monotonic() - since < 2:
        time.sleep(0.5)
        if (now := picture(desktop)) != before:
            before, since = now, time.monotonic()
    return before


def shoot(desktop: Desktop, place: Path, file: Path) -> None:
    """Show a directory, and save what that looks like."""
    desktop.start("nautilus", "--new-window", place.as_uri())
    seen = ["xdotool", "search", "--sync", "--onlyvisible", "--name", f"^{place.name}$"]
    subprocess.run(seen, env=desktop.env, stdout=subprocess.DEVNULL, check=True, timeout=60)
    small = ["pngquant", "--strip", str(COLOURS), "-"]
    file.write_bytes(subprocess.run(small, input=drawn(desktop), stdout=subprocess.PIPE, check=True).stdout)
    print(file.name, file.stat().st_size)


def main(images: Path) -> None:
    """Make all pictures."""
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eofs-pictures-") as directory:
        home, products = Path(directory), Path(directory) / "products"
        product = products / TITLES[OFFLINE]
        files = product / "data" / f"{product.name}.SAFE"
        demo = begin(sys.executable, "-m", "eofs", "demo", products, env=environment(home))
        try:
            until(lambda: os.path.ismount(products))
            with Desktop(home, SIZE) as desktop:
                shoot(desktop, products, images / "products.png")
                shoot(desktop, product, images / "product.png")
                until(lambda: any(files.iterdir()))  # orders it, and waits
                shoot(desktop, files, images / "files.png")
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else IMAGES)
