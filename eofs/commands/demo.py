"""``eofs demo``: the built-in provider and its ten products, mounted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eofs import catalog, config
from eofs.commands.mount import mount, take_signals, usable
from eofs.demo import DemoProvider

STAGING = 6.0  # seconds that an order takes
RATE = 8e6  # bytes a second: slow enough to see it come, fast enough to wait for it
WAIT = "0.03"  # minutes between two checks


def demo(mountpoint: str | None, typed: dict[str, str | bool]) -> None:
    """Mount the demo's products until Ctrl-C; without a mount point in a directory made for it.

    Everything lies in one directory beside the mount, which goes when the demo ends: the provider's archives with
    their checksums, its access log, the search result, the cache.

    Raises:
        EofsError: it cannot be mounted.
    """
    with tempfile.TemporaryDirectory(prefix="eofs-demo-") as directory:
        work = Path(directory)
        place = Path(mountpoint) if mountpoint else work / "mnt"
        place.mkdir(parents=True, exist_ok=True)
        usable(str(place))
        take_signals()  # the provider has threads
        settings = config.load({"wait": WAIT, "cache_dir": str(work / "cache"), **typed})
        with DemoProvider(work / "provider", staging_seconds=STAGING, rate=RATE, log=work / "provider.log") as provider:
            result = provider.write_result(work / "search_result.geojson")
            print(f"search result  {result}")
            print(f"provider       {provider.url}  (archives and checksums in {work / 'provider'})")
            print(f"its log        {work / 'provider.log'}")
            print(f"mounted on     {place.absolute()}  until Ctrl-C", flush=True)
            mount(catalog.load(result), str(place), settings, foreground=True)
