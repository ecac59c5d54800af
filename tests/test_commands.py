"""The commands as a user types them: what they print, the one sentence when they fail, the exit status."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin, environment, eofs, error_of, ls, run, runs, until

from eofs import __version__
from eofs.cli import COMMANDS
from eofs.demo import DemoProvider

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def provider(store: Path) -> Iterator[DemoProvider]:
    with DemoProvider(store, megabytes=1, staging_seconds=0.3) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, provider: DemoProvider) -> Path:
    """A home with a search result, an empty directory, and things that are neither."""
    home = tmp_path_factory.mktemp("home")
    provider.write_result(home / "result.geojson")
    (home / "empty").mkdir()
    (home / "full").mkdir()
    (home / "full/file").touch()
    (home / "words.txt").write_text("Dear sir or madam", encoding="utf-8")
    (home / "list.json").write_text("[1, 2]", encoding="utf-8")
    (home / "none.geojson").write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    (home / "broken.yml").write_text("peps: {auth: [", encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Mount]:
    with Mount(tmp_path_factory.mktemp("mounted"), home / "result.geojson") as mounted:
        yield mounted


# -- failures --------------------------------------------------------------------------------------------------------

FAILURES = {
    "mount no.geojson empty": "no.geojson does not exist; name the GeoJSON file of a search result",
    "mount words.txt empty": "words.txt is not JSON",
    "mount list.json empty": "list.json",
    "mount none.geojson empty": "none.geojson holds no products; widen the search",
    "mount full empty": "full",
    "mount result.geojson no": "no does not exist; make it first: mkdir -p no",
    "mount result.geojson full": "full is not empty; take an empty directory",
    "mount result.geojson words.txt": "words.txt is not a directory; take an empty directory",
    "result.geojson no -o wait=0.1": "no does not exist; make it first: mkdir -p no",
    "mount result.geojson empty --config no.yml": "no.yml (named by the command line) cannot be read: No such file",
    "mount result.geojson empty --config broken.yml": "broken.yml",
    "mount result.geojson empty --cache-dir words.txt": "words.txt cannot be used: File exists; name another one",
    "mount result.geojson empty -f --cache-dir words.txt": "words.txt cannot be used: File exists; name another one",
    "mount result.geojson empty --log-file no/eofs.log": "no/eofs.log cannot be written: No such file or directory",
    "mount result.geojson empty -o filter=cloudCover<0": "none of its 10 products passes cloudCover<0; ask for less",
    "mount result.geojson empty --min-overlap 5": "name the area with intersects",
    "ls result.geojson --filter clouds<20": "no product has a property 'clouds'; eofs itself knows storageStatus,",
    "fetch result.geojson --filter cloudCover<0": "none of its 10 products passes cloudCover<0; ask for less",
    "fetch no.geojson": "no.geojson does not exist; name the GeoJSON file of a search result",
    "fetch empty": "empty holds no search result (*.json, *.geojson), and is no mount of eofs",
    "fetch result.geojson --cache-dir words.txt": "words.txt cannot be used: File exists; name another one",
    "quicklooks none.geojson new": "none.geojson holds no products; widen the search",
    "quicklooks result.geojson words.txt": "words.txt cannot be made: File exists; name another directory",
    "unmount empty": "empty is not mounted",
    "unmount no": "no is not mounted",
    "ls no.geojson": "no.geojson does not exist; name the GeoJSON file of a search result",
    "ls empty": "empty holds no search result (*.json, *.geojson), and is no mount of eofs",
    "status empty": "empty is neither a mount of eofs nor a product's directory in one",
    "status result.geojson": "result.geojson is neither a mount of eofs nor a product's directory in one",
}


MISTAKES = {
    "mount result.geojson empty -o wait=soon": "wait cannot be 'soon': expected a number of minutes above 0",
    "mount result.geojson empty --wait soon": "wait cannot be 'soon': expected a number of minutes above 0",
    "mount result.geojson empty -o colour=red": "unknown option 'colour'; see eofs mount --help",
    "mount result.geojson empty -o ro,wiat=1": "unknown option 'wiat'; did you mean 'wait'?",
    "mount result.geojson empty -o wait": "wait: expected a value, as in wait=MINUTES",
    "mount result.geojson empty -o layout=a": "layout cannot be 'a': expected {title} or {id} in its last part",
    "mount result.geojson empty -o filter=size<9,filter=a": "filter cannot be 'size<9, a': expected a name, one of",
    "ls result.geojson --filter a": "filter cannot be 'a': expected a name, one of = != < <= > >=, and a value",
    "fetch result.geojson --intersects no": "intersects cannot be 'no': expected a GeoJSON file, WKT, or minlon",
    "mount result.geojson empty --verbose=some": "verbose cannot be 'some'",
}


@pytest.mark.says("2 wrong usage.")
@pytest.mark.parametrize("words", MISTAKES)
def test_an_option_that_cannot_be_meant_is_one_sentence_and_exit_status_2(home: Path, words: str) -> None:
    done = eofs(*words.split(), home=home, cwd=home)
    assert (done.returncode, done.stdout) == (2, "")
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith("eofs: the command line: ")
    assert MISTAKES[words] in sentence


@pytest.mark.says("non-zero with one sentence on stderr when it is not", "0 done, 1 failed")
@pytest.mark.parametrize("words", FAILURES)
def test_a_failure_is_one_sentence_and_exit_status_1(home: Path, words: str) -> None:
    try:
        done = eofs(*words.split(), home=home, cwd=home)
    finally:
        assert not os.path.ismount(home / "empty")
    assert (done.returncode, done.stdout) == (1, "")
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith("eofs: ")
    assert FAILURES[words] in sentence


def test_without_libfuse_the_sentence_says_how_to_install_it(home: Path) -> None:
    done = eofs("mount", "result.geojson", "empty", home=home, cwd=home, env={"FUSE_LIBRARY_PATH": "/no/libfuse.so"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eofs: libfuse 2 is missing; install it: apt install fuse3 libfuse2")
    assert len(done.stderr.splitlines()) == 1
    for words in (["--version"], ["--help"], ["ls", "result.geojson"]):  # what mounts nothing does without
        assert eofs(*words, home=home, cwd=home, env={"FUSE_LIBRARY_PATH": "/no/libfuse.so"}).returncode == 0


def test_what_libfuse_refuses_is_said_by_libfuse_and_then_by_us(home: Path) -> None:
    done = eofs("mount", "result.geojson", "empty", "-o", "allow_root,allow_other", home=home, cwd=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["fuse", "eofs"]
    assert "mutually exclusive" in done.stderr
    assert done.stderr.endswith("empty could not be mounted (libfuse ended with 1)\n")


@pytest.mark.mount
def test_a_place_that_is_mounted_already_is_not_mounted_on(mount: Mount) -> None:
    done = mount.eofs(*mount.command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"eofs: {mount.root} is mounted already; unmount it first: eofs unmount {mount.root}\n"
    assert ls(mount.root)


@pytest.mark.says("2 wrong usage.")
@pytest.mark.parametrize(
    "words",
    ["", "frobnicate", "mount", "mount one", "mount one two --wiat=3", "ls", "unmount a b"],
)
def test_wrong_usage_is_exit_status_2(home: Path, words: str) -> None:
    done = eofs(*words.split(), home=home, cwd=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: eofs")
    assert "Traceback" not in done.stderr


# -- what there is ---------------------------------------------------------------------------------------------------


@pytest.mark.says("`eofs --version`.")
def test_the_version(home: Path) -> None:
    assert eofs("--version", home=home).stdout == f"eofs {__version__}\n"


@pytest.mark.says("Exit status: 0 done")
@pytest.mark.parametrize("command", [(), *[(command,) for command in COMMANDS]], ids=" ".join)
def test_help_is_there_for_every_command(home: Path, command: tuple[str, ...]) -> None:
    done = eofs(*command, "--help", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["usage: eofs", *command]))
    for other in COMMANDS if not command else ():
        assert other in done.stdout.split()


# -- mounting --------------------------------------------------------------------------------------------------------


@pytest.mark.mount
@pytest.mark.parametrize("way", ["standard input", "gzip"])
def test_a_result_may_come_from_standard_input_or_be_compressed(tmp_path: Path, home: Path, way: str) -> None:
    text = (home / "result.geojson").read_text(encoding="utf-8")
    result = tmp_path / "result.geojson.gz"
    result.write_bytes(gzip.compress(text.encode()))
    mount = Mount(tmp_path, result)
    try:
        if way == "gzip":
            mount.start()
        else:
            done = mount.eofs("mount", "-", *mount.command[2:], input=text)
            assert (done.returncode, done.stderr) == (0, "")
        assert ls(mount.root) == sorted(TITLES.values())
    finally:
        mount.end()


@pytest.mark.says("[-o opt,opt=value…] [--option value…]", "`eofs RESULT MOUNTPOINT -o …` the same")
@pytest.mark.mount
def test_options_may_be_said_in_every_way_and_the_command_word_left_out(tmp_path: Path, home: Path) -> None:
    mount = Mount(tmp_path, home / "result.geojson")
    options = f"-o wait=0.1,order=never -o cache_dir={mount.cache},nosuid --cache-size 1G --log_file {mount.log}"
    try:
        done = mount.eofs(mount.result, mount.root, *options.split(), "-v")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        disk = os.statvfs(mount.root)
        assert disk.f_blocks * disk.f_frsize == 1 << 30
        assert error_of(ls, mount.safe(OFFLINE)) == "EPERM"
    finally:
        mount.end()
    assert any("order=never" in line for line in mount.logged())


# -- looking ---------------------------------------------------------------------------------------------------------


@pytest.mark.says("a table: name, provider, status, size, date, cloud cover")
def test_ls_of_a_result_is_a_table_by_name(home: Path) -> None:
    done = eofs("ls", "result.geojson", home=home, cwd=home)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NAME", "PROVIDER", "STATUS", "SIZE", "DATE", "CLOUD"]
    assert [row.split()[0] for row in rows] == sorted(TITLES.values())
    assert rows[2].split() == [TITLES[OFFLINE], "demo", "OFFLINE", "1.0", "MiB", "2020-11-19T11:03", "0", "%"]


@pytest.mark.says("status, size, date, cloud cover; `--json`")
def test_ls_of_a_result_as_json(home: Path, provider: DemoProvider) -> None:
    rows = json.loads(eofs("ls", "result.geojson", "--json", home=home, cwd=home).stdout)
    assert rows[2] == {
        "name": TITLES[OFFLINE],
        "id": TITLES[OFFLINE],
        "provider": "demo",
        "storageStatus": "OFFLINE",
        "size": provider.archive(OFFLINE).stat().st_size,
        "start": "2020-11-19T11:03:41.024000+00:00",
        "cloudCover": pytest.approx(0.0473, abs=1e-4),
    }


def test_ls_into_a_program_that_stops_reading_is_no_fault(home: Path) -> None:
    program = f"{sys.executable} -m eofs"
    shown = run("sh", "-c", f"{program} ls {home}/result.geojson | head -1", env=environment(home))
    assert shown.startswith("NAME ")


@pytest.mark.says("MOUNTPOINT` a table: name, provider, status")
@pytest.mark.mount
def test_ls_of_a_mount_tells_what_is_here(mount: Mount) -> None:
    mount.bring(ONLINE)
    assert ls(mount.safe(UIDS[1]))
    rows = mount.eofs("ls", mount.root).stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == sorted(TITLES.values())
    assert "ONLINE, complete" in next(row for row in rows if row.startswith(TITLES[ONLINE]))
    said = {row["name"]: row for row in json.loads(mount.eofs("ls", "--json", mount.root).stdout)}
    assert (said[TITLES[ONLINE]]["storageStatus"], said[TITLES[ONLINE]]["local"]) == ("ONLINE", "complete")
    assert said[TITLES[UIDS[1]]]["local"] == "partial"
    assert said[TITLES[UIDS[9]]]["local"] == "absent"


@pytest.mark.says("`storageStatus` is the one in the result; of a mount, the one known by now.")
@pytest.mark.mount
def test_the_status_of_a_mounts_products_is_the_one_known_by_now(mount: Mount) -> None:
    came = UIDS[8]
    mount.bring(came)
    wanted = ["--filter", "storageStatus=ONLINE"]
    for place, is_online in ((mount.result, False), (mount.root, True)):
        names = [line.split()[0] for line in mount.eofs("ls", place, *wanted).stdout.splitlines()[1:]]
        assert {TITLES[uid] for uid in UIDS[:5]} <= set(names)
        assert (TITLES[came] in names) is is_online


@pytest.mark.says("PRODUCT_DIR` what is going on")
@pytest.mark.mount
def test_status_of_a_product_is_its_status_file(mount: Mount) -> None:
    directory = mount.product(ONLINE)
    done = mount.eofs("status", directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (directory / "status").read_text(encoding="utf-8")
    assert json.loads(mount.eofs("status", "--json", directory).stdout) == mount.status(ONLINE)


@pytest.mark.says("what is going on, and who waits; `--watch`")
@pytest.mark.mount
def test_status_of_a_mount_counts_and_names_what_goes_on(mount: Mount, provider: DemoProvider) -> None:
    tape = UIDS[7]  # that no other test brings into this mount
    mount.bring(ONLINE)
    provider.set_offline(tape)
    provider.staging_seconds = 1e9
    waiting = begin("cat", mount.safe(tape) / "manifest.safe")
    try:
        until(lambda: mount.status(tape)["activity"] == "waiting")
        first, *others = mount.eofs("status", mount.root).stdout.splitlines()
        assert first.startswith(f"{mount.result} on {mount.root}: 10 products, ")
        assert "; cache " in first
        assert [line for line in others if line.startswith(f"{TITLES[tape]}: waiting: ordered 20")]
        said = json.loads(mount.eofs("status", mount.root, "--json").stdout)
        assert said["pid"] == str(mount.pid)
        assert said["products"][TITLES[tape]]["activity"] == "waiting"
        assert said["cache"]["used"] > 1_000_000
        watching = begin(
            sys.executable, "-m", "eofs", "status", "--watch", mount.product(tape), env=environment(mount.home)
        )
        assert watching.stdout
        assert watching.stdout.readline() == "storageStatus: STAGING\n"
        provider.set_online(tape)
        assert next(line for line in watching.stdout if line.startswith("local: complete"))
        watching.send_signal(signal.SIGINT)
        assert watching.communicate(timeout=60)[1] == ""
        assert watching.returncode == 130
    finally:
        provider.staging_seconds = 0.3
        waiting.kill()
        waiting.communicate()


@pytest.mark.says("`-v`, `-vv`, `--log-file`")
@pytest.mark.mount
@pytest.mark.parametrize(
    ("words", "tells", "tells_all"),
    [([], False, False), (["-v"], True, False), (["-vv"], True, True)],
    ids=["nothing", "-v", "-vv"],
)
@pytest.mark.parametrize("where", ["standard error", "--log-file"])
def test_the_foreground_tells_what_goes_on_as_loudly_as_it_is_told_to(
    tmp_path: Path, home: Path, words: list[str], tells: bool, tells_all: bool, where: str
) -> None:
    mount, log = Mount(tmp_path, home / "result.geojson"), tmp_path / "foreground.log"
    words = ["mount", str(mount.result), str(mount.root), "-f", *words, "-o", f"cache_dir={mount.cache}"]
    words += ["--log-file", str(log)] if where == "--log-file" else []
    program = begin(sys.executable, "-m", "eofs", *words, env=environment(tmp_path))
    try:
        until(lambda: os.path.ismount(mount.root))
        mount.bring(ONLINE)
        assert error_of((mount.root / "nothing").stat) == "ENOENT"
        program.send_signal(signal.SIGINT)
        told = program.communicate(timeout=60)[1]
        assert program.returncode == 0
        assert not runs(program.pid)
    finally:
        program.kill()
        program.communicate()
        mount.end()
    if where == "--log-file":
        assert told == ""
        told = log.read_text(encoding="utf-8")
    assert (f"{TITLES[ONLINE]} is complete, " in told) == tells
    assert ("getattr /nothing: " in told) == tells_all


@pytest.mark.says("No traceback reaches a user: a fault in eofs is one sentence, of which `-vv` tells more.")
def test_a_fault_in_eofs_is_one_sentence_and_vv_tells_more(home: Path) -> None:
    """A full disk below standard output, of which no command thinks."""
    for words in ([], ["-v"], ["-vv"]):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            command = [sys.executable, "-m", "eofs", "ls", str(home / "result.geojson"), *words]
            done = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(home), check=False
            )
        *more, last = done.stderr.splitlines()
        assert last.startswith("eofs: a fault in eofs (OSError: [Errno 28] No space left on device); -vv tells more")
        assert bool(more) == (words == ["-vv"])
        assert done.returncode == 1
