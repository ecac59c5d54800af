"""The steps of eodag's user guide "Downloading", as a user of eofs does them: at the command line, with PEPS.

What speaks is the built-in file of PEPS; only its host is another, which the user's own file names. Two variables hold
the account, and one where products go to. The steps are those of the guide, and so are the products.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from confidential import PASSWORD
from conftest import TITLES, UIDS, Mount, begin, environment, ls

from eofs.demo import DemoProvider

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = {
    "EODAG__PEPS__AUTH__CREDENTIALS__USERNAME": "alice",
    "EODAG__PEPS__AUTH__CREDENTIALS__PASSWORD": PASSWORD,
}
ONLINE = UIDS[:5]
TWO = ONLINE[2:4]
FROM_TAPE = "342f1704-8931-5411-8812-d96b343e2da5"
INSIDE = ["DATASTRIP", "GRANULE", "HTML", "INSPIRE.xml", "MTD_MSIL1C.xml", "manifest.safe", "rep_info"]


class User(Mount):
    """Who reads the guide, at home; the mount waits as the guide does, a minute at a time and no more than five."""

    def __init__(self, home: Path, peps: DemoProvider) -> None:
        self.peps, self.config, self.workspace = peps, home / "hosts.yml", home / "eodag_workspace_download"
        found = peps.result()
        for feature in found["features"]:
            feature["properties"]["eodag_provider"] = "peps"
        result = home / "download_search_results.geojson"
        result.write_text(json.dumps(found), encoding="utf-8")
        self.config.write_text(f"peps: {{auth: {{hosts: ['127.0.0.1:{peps.port}']}}}}\n", encoding="utf-8")
        self.env = {**ACCOUNT, "EODAG__PEPS__DOWNLOAD__OUTPUTS_PREFIX": str(self.workspace)}
        super().__init__(home, result, cache_dir=home / ".cache/eofs", config=self.config, wait=1, timeout=5)

    def eofs(self, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return super().eofs(*words, env=self.env, **how)

    def types(self, *words: object) -> list[str]:
        """Type a command that has to succeed; return the lines that it prints."""
        done = self.eofs(*words, "--config", self.config)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def begins(self, *words: object) -> subprocess.Popen[str]:
        """Type a command, and do not wait for its end."""
        command = [sys.executable, "-m", "eofs", *words, "--config", self.config]
        return begin(*command, env={**environment(self.home), **self.env})

    def fetched(self, uid: str) -> Path:
        """Return where a product comes to."""
        return self.workspace / f"{TITLES[uid]}/{TITLES[uid]}.SAFE"


@pytest.fixture
def user(tmp_path: Path, store: Path) -> Iterator[User]:
    with (
        DemoProvider(store, username="alice", password=PASSWORD, megabytes=1, staging_seconds=2) as peps,
        User(tmp_path, peps) as reading,
    ):
        yield reading


pytestmark = pytest.mark.mount


def test_setup(user: User) -> None:
    """`dag.deserialize_and_register(…)`: the result is there, and nobody has been asked for anything."""
    assert ls(user.root) == sorted(TITLES.values())
    assert user.types("providers", "--json")
    assert user.peps.requests == []


def test_download_quicklooks(user: User) -> None:
    """`product.get_quicklook(…)`: in each product's directory, or all of them in one."""
    shown = {uid: (user.product(uid) / "quicklook.jpg").read_bytes() for uid in UIDS}
    assert {picture[:3] for picture in shown.values()} == {b"\xff\xd8\xff"}
    user.types("quicklooks", user.result, user.home / "quicklooks")
    assert ls(user.home / "quicklooks") == sorted(f"{title}.jpg" for title in TITLES.values())
    for uid, picture in shown.items():
        assert (user.home / "quicklooks" / f"{TITLES[uid]}.jpg").read_bytes() == picture
    assert len(user.peps.requests) == len(UIDS)  # each once, by the mount


def test_order_offline_products(user: User) -> None:
    """`FilterProperty(dict(storageStatus="ONLINE"))`: what would have to be ordered is left out."""
    for where in (user.result, user.root):
        listed = [line.split()[:3] for line in user.types("ls", where)[1:]]
        online = [line.split()[:3] for line in user.types("ls", where, "--filter", "storageStatus=ONLINE")[1:]]
        assert [status for _, _, status in listed].count("OFFLINE") == 5
        assert online == [line for line in listed if line[2] == "ONLINE"]
        assert online == [[title, "peps", "ONLINE"] for title in sorted(TITLES[uid] for uid in ONLINE)]
    assert user.peps.requests == []


def test_download_multiple_products_at_once(user: User) -> None:
    """`dag.download_all(products_to_download)`: both come, extracted; the second time neither."""
    for _ in range(2):
        paths = user.types("fetch", *(user.product(uid) for uid in TWO))
        assert sorted(paths) == sorted(str(user.fetched(uid)) for uid in TWO)
    assert [ls(user.fetched(uid)) for uid in TWO] == [INSIDE, INSIDE]
    for uid in TWO:
        files = (path for path in user.fetched(uid).rglob("*") if path.is_file())
        there = {str(path.relative_to(user.fetched(uid).parent)): path.read_bytes() for path in files}
        assert {path: hashlib.md5(read).hexdigest() for path, read in there.items()} == user.peps.md5sums(uid)
        assert user.peps.bytes_sent(uid) == user.peps.archive(uid).stat().st_size
        assert user.status(uid)["location"] == user.safe(uid).as_uri()
    assert {request.uid for request in user.peps.requests} == {*TWO}


def test_download_an_offline_product(user: User) -> None:
    """`dag.download(offline_product, wait=1, timeout=5)`: ordered, waited for a minute at a time, and downloaded.

    The minute is not waited for: the user stops, and types the same again with a hundredth of it.
    """
    words = ("fetch", user.result, "--filter", f"title={TITLES[FROM_TAPE]}")
    assert user.status(FROM_TAPE)["storageStatus"] == "OFFLINE"
    begun = time.time()
    waiting = user.begins(*words, "--wait", "1", "--timeout", "5")
    try:
        assert waiting.stderr
        line = waiting.stderr.readline()
        seen = time.time()
        waiting.send_signal(signal.SIGINT)
        out, rest = waiting.communicate(timeout=60)
    finally:
        waiting.kill()
    says = r"eofs: \S+: ordered \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, next check in (\d+) s, giving up at ([\d:]{8})Z\n"
    match = re.fullmatch(says, line)
    assert match, line + rest
    assert 0 < int(match[1]) <= 60
    ends = {time.strftime("%H:%M:%S", time.gmtime(second)) for second in range(int(begun) + 300, int(seen) + 302)}
    assert match[2] in ends
    assert (out, rest) == ("", "eofs: stopped; what has come is kept, and the same command goes on from there\n")
    said = user.status(FROM_TAPE)
    assert (said["storageStatus"], said["local"], said["error"]) == ("STAGING", "absent", None)
    assert said["order"].startswith("placed 20")

    assert user.types(*words, "--wait", "0.01", "--timeout", "5") == [str(user.fetched(FROM_TAPE))]
    assert ls(user.fetched(FROM_TAPE)) == ls(user.safe(FROM_TAPE)) == INSIDE
    said = user.status(FROM_TAPE)
    assert (said["storageStatus"], said["local"], said["order"]) == ("ONLINE", "complete", None)
    assert said["location"] == user.safe(FROM_TAPE).as_uri()
    assert said["remote_location"] == f"{user.peps.url}/resto/collections/S2ST/{FROM_TAPE}/download"
    assert {request.uid for request in user.peps.requests} == {FROM_TAPE}
