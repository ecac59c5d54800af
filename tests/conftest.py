"""What the tests that mount share: the demo provider, and eofs mounted on a directory by the program itself.

A `Mount` runs `python -m eofs mount …` as a user does, with a home, a cache and a log of its own. When its test ends,
however that was, nothing is mounted, no process is left, and nothing in the log is a fault of the program.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import no_secrets
import pytest
import yaml
from hypothesis import HealthCheck, settings

from eofs.demo import DemoProvider, ten_products

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

# The ten products of the demo provider: five ONLINE, then five OFFLINE; and one of each.
TITLES = {feature["properties"]["uid"]: feature["properties"]["title"] for feature in ten_products()}
UIDS = list(TITLES)
ONLINE, OFFLINE = UIDS[2], UIDS[5]
LIST = "bytes=-131072"  # what is asked for a list of files: the end of the archive, with its index
FOREIGN = ("EODAG", "EOFS_", "XDG_", "NETRC", "AWS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FUSE_LIBRARY")

# A busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(no_secrets)


@pytest.hookimpl(tryfirst=True)  # before the fixtures, which mount
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mount") and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened, so nothing can be mounted")


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `condition` holds; fail when it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not come about"
        time.sleep(0.01)


def ls(directory: Path) -> list[str]:
    """Return what `ls` shows."""
    return sorted(path.name for path in directory.iterdir())


def error_of(action: Callable[..., object], *arguments: object) -> str:
    """Return the name of the errno that an action fails with."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is what the caller compares
        action(*arguments)
    return errno.errorcode[caught.value.errno or 0]


def run(*words: object, **how: Any) -> str:
    """Run a program that has nothing to complain of; return what it prints."""
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, **how}
    done = subprocess.run([*map(str, words)], check=False, **given)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def runs(pid: int) -> bool:
    """Tell whether a process is there, and more than a name that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def begin(*words: object, **how: Any) -> subprocess.Popen[str]:
    """Start a program that hears every signal, whatever the tests' own parent has it ignore."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(["env", "--default-signal", *map(str, words)], text=True, **(pipes | how))


def begin_blocked(*words: object, **how: Any) -> subprocess.Popen[str]:
    """Start a program, and return when it waits in the kernel: it does at two looks, and did nothing in between."""
    process = begin(*words, **how)
    before: dict[str, str] = {}

    def waits() -> bool:
        nonlocal before
        last, lines = before, Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
        before = dict(line.split(":\t", 1) for line in lines)
        name, state, switches = (before.get(key) for key in ("Name", "State", "voluntary_ctxt_switches"))
        return name == words[0] and (state or "")[:1] in {"S", "D"} and switches == last.get("voluntary_ctxt_switches")

    until(waits)
    return process


def environment(home: Path) -> dict[str, str]:
    """Return the variables of a user with this home who has configured nothing; nobody else's catalogue is asked."""
    mine = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    return {**mine, "HOME": str(home), "EOFS__FALLBACK": "none", "AWS_EC2_METADATA_DISABLED": "true"}


def eofs(*words: object, home: Path, env: dict[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run eofs to its end, as the user with this home."""
    command = [sys.executable, "-m", "eofs", *map(str, words)]
    given = {"timeout": 60, **({} if "input" in how else {"stdin": subprocess.DEVNULL}), **how}
    env = {**environment(home), **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, **given)


class Mount:
    """A search result, mounted in ``with``; `options` are those of the mount."""

    def __init__(self, home: Path, result: Path, **options: object) -> None:
        self.home = home
        self.result = result
        self.root = home / "mnt"
        self.cache = home / "cache"
        self.log = home / "eofs.log"
        # Short pauses, for tests of many steps take a second; a limit, for one that fails has to come to its end, and
        # one beyond that of `until`, so that no wait on a busy machine is ended by it.
        usual = {"cache_dir": self.cache, "log_file": self.log, "verbose": 2, "wait": 0.001, "timeout": 1.5}
        self.options = {**usual, **options}
        self.root.mkdir(parents=True, exist_ok=True)
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def eofs(self, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run eofs to its end."""
        return eofs(*words, home=self.home, **how)

    @property
    def command(self) -> list[str]:
        """Return the words that mount."""
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return ["mount", str(self.result), str(self.root), "-o", options]

    def start(self, **options: object) -> None:
        """Mount, or mount again; `options` add to those that are there."""
        self.options |= options
        done = self.eofs(*self.command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        self._pids.append(self.pid)
        no_secrets.look_at_process(self.pid)

    @property
    def pid(self) -> int:
        """Return the number of the process that answers for the mount."""
        return int(os.getxattr(self.root, "user.eofs.pid"))

    def unmount(self) -> None:
        """Unmount."""
        done = self.eofs("unmount", self.root)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def kill(self) -> None:
        """Kill the process that answers for the mount, and leave the dead mount behind."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: not runs(pid) and self._is_dead())

    def _is_dead(self) -> bool:
        try:
            os.getxattr(self.root, "user.eofs.pid")
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    def end(self) -> None:
        """Leave nothing behind; look into the log. What `eofs unmount` cannot take away is a failure of the test."""
        try:
            if os.path.ismount(self.root):
                no_secrets.look_at_statuses(self.root)
                self.unmount()
        finally:
            subprocess.run(["fusermount", "-uz", self.root], capture_output=True, check=False)
            left = [pid for pid in self._pids if runs(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            no_secrets.look_at_files(self.home)
        assert left == []
        assert [line for line in self.logged() if "Traceback" in line or "a fault in eofs" in line] == []

    def logged(self) -> list[str]:
        """Return the lines of the log."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def product(self, uid: str) -> Path:
        """Return the directory of a product of the demo provider."""
        found = [feature["properties"] for feature in json.loads(self.result.read_bytes())["features"]]
        return self.root / str(next(said["title"] for said in found if said["uid"] == uid))

    def safe(self, uid: str) -> Path:
        """Return its product root."""
        directory = self.product(uid)
        return directory / "data" / f"{directory.name}.SAFE"

    def bring(self, uid: str) -> Path:
        """Read a file of a product, and return the product root when all of the product is here behind that read."""
        root = self.safe(uid)
        assert (root / "manifest.safe").read_bytes()
        until(lambda: self.status(uid)["local"] == "complete")
        return root

    def status(self, uid: str) -> dict[str, Any]:
        """Return what its status file says."""
        said: dict[str, Any] = yaml.safe_load((self.product(uid) / "status").read_text(encoding="utf-8"))
        return said


def ranges_of(provider: DemoProvider, uid: str) -> list[str | None]:
    """Return which ranges of a product have been asked for, and sent."""
    return [request.range for request in provider.requests if request.uid == uid and request.status in {200, 206}]


@pytest.fixture(autouse=True)
def nobodys_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no keys for S3 lie around, whoever runs the tests; a test may put some into ``tmp_path / "aws"``."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws/config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws/credentials"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the archives of 1 MB lie, which most tests can do with."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def provider(store: Path) -> Iterator[DemoProvider]:
    """Run the demo provider; what is ordered is there after half a second."""
    with DemoProvider(store, megabytes=1, staging_seconds=0.5) as running:
        yield running


@pytest.fixture
def mount(tmp_path: Path, provider: DemoProvider) -> Iterator[Mount]:
    """Mount all that the provider has."""
    with Mount(tmp_path, provider.write_result(tmp_path / "search_result.geojson")) as mounted:
        yield mounted


@pytest.fixture
def readers() -> Iterator[list[subprocess.Popen[str]]]:
    """Gather the programs that a test starts; none of them is left."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()
