"""``eofs demo``: the built-in provider and its ten products, mounted."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from eofs import config
from eofs.catalog.sources import Sources
from eofs.commands.mount import import_fuse, serve, take_signals, usable
from eofs.commands.notices import warn_of_hindrance
from eofs.demo import DemoProvider
from eofs.options import choice

STAGING = 6.0  # seconds that an order takes
RATE = 8e6  # bytes a second: slow enough to see it come, fast enough to wait for it
WAIT = "0.03"  # minutes between two checks


def demo(mountpoint: str | None, typed: dict[str, object]) -> None:
    """Mount the demo's products until Ctrl-C; without a mount point in a directory made for it.

    All else lies in one directory, which goes when the demo ends: the provider's archives with their checksums, its
    access log, the search result, the cache. So does the mount point if it was made for the demo.

    Raises:
        EofsError: it cannot be mounted.
    """
    with tempfile.TemporaryDirectory(prefix="eofs-demo-") as directory, contextlib.ExitStack() as at_the_end:
        work = Path(directory)
        place = Path(mountpoint or work / "products").absolute()
        made = [folder for folder in (place, *place.parents) if not os.path.lexists(folder)]
        at_the_end.callback(_take_away, made)
        with contextlib.suppress(OSError):  # that it is not there is said by `usable`
            place.mkdir(parents=True)
        target = usable(str(place))
        import_fuse()
        take_signals()  # the provider has threads
        settings = config.load({"wait": WAIT, "cache_dir": str(work / "cache"), "fallback": "none", **typed})
        warn_of_hindrance(settings)
        with DemoProvider(work / "provider", staging_seconds=STAGING, rate=RATE, log=work / "provider.log") as provider:
            result = provider.write_result(work / "search_result.geojson")
            sources = Sources([str(result)], choice(settings.options))
            sources.load()

            def welcome() -> None:
                print(_WELCOME.format(url=provider.url, work=work, place=target), flush=True)

            def tidy() -> None:
                shutil.rmtree(work, ignore_errors=True)
                _take_away(made)

            serve(sources, target, settings, welcome, foreground=True, tidy=tidy)


def _take_away(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # somebody else has put something there
            folder.rmdir()


_WELCOME = f"""\
The demo provider serves ten products at {{url}}, five of them from tape.
  {{work}}/search_result.geojson   what a search for them found
  {{work}}/provider/               their archives, with checksums
  {{work}}/provider.log            every request, as the provider sees it
  {{work}}/cache/                  what eofs has downloaded
They are mounted until Ctrl-C, which removes all of it. Look at them from another terminal or a file manager:
  cd {{place}}
  cat */status
  ls */data/*20201119*/                     one from tape: waits {STAGING:.0f} seconds for its order, then lists it
  md5sum */data/*20201119*/manifest.safe    the first read brings all the rest behind it\
"""
