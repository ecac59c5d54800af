"""A real mount as programs see it: its tree, its attributes, its bytes, and what looking at it costs."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import shutil
import stat
import subprocess
import sys
import zipfile
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import LIST, OFFLINE, ONLINE, TITLES, UIDS, Mount, error_of, ls, ranges_of, run, until

from eofs.demo import DemoProvider, Reply, ten_products

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.mount

STATUS = [
    *("storageStatus", "local", "activity", "message", "downloaded", "size", "provider", "id", "title"),
    *("location", "remote_location", "order", "error"),
]


@pytest.fixture(scope="module")
def provider(store: Path) -> Iterator[DemoProvider]:
    with DemoProvider(store, megabytes=1, staging_seconds=0.3) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def mount(home: Path, provider: DemoProvider) -> Iterator[Mount]:
    with Mount(home, provider.write_result(home / "search_result.geojson")) as mounted:
        yield mounted


@pytest.fixture
def safe(mount: Mount) -> Path:
    """A product root whose product is here."""
    return mount.bring(ONLINE)


def features_of(mount: Mount) -> dict[str, Any]:
    features = json.loads(mount.result.read_text(encoding="utf-8"))["features"]
    return {feature["properties"]["title"]: feature for feature in features}


def asked(provider: DemoProvider) -> int:
    """Return how many requests there were; a provider writes down what has ended."""
    until(lambda: not provider.under_way)
    return provider.count()


def everything(top: Path) -> Iterator[Path]:
    yield top
    for directory, folders, files in os.walk(top):
        yield from (Path(directory, name) for name in folders + files)


# -- the tree --------------------------------------------------------------------------------------------------------


def test_the_mount_holds_one_directory_for_each_product(mount: Mount) -> None:
    assert ls(mount.root) == sorted(TITLES.values())


@pytest.mark.parametrize("uid", [ONLINE, OFFLINE], ids=["online", "offline"])
def test_a_product_shows_quicklook_status_metadata_and_data(mount: Mount, uid: str) -> None:
    directory = mount.product(uid)
    assert ls(directory) == ["data", "metadata.json", "quicklook.jpg", "status"]
    assert ls(directory / "data") == [f"{TITLES[uid]}.SAFE"]


def test_metadata_is_the_feature_as_the_result_holds_it(mount: Mount) -> None:
    for title, feature in features_of(mount).items():
        assert json.loads((mount.root / title / "metadata.json").read_bytes()) == feature


@pytest.mark.says("Directories have the permissions 0555, files 0444, and belong to the user who mounted")
def test_directories_are_0555_and_files_0444_and_both_belong_to_who_mounted(mount: Mount, safe: Path) -> None:
    for path in [*everything(mount.product(ONLINE)), mount.root]:
        found = path.stat()
        expected = stat.S_IFDIR | 0o555 if path.is_dir() else stat.S_IFREG | 0o444
        assert (oct(found.st_mode), found.st_uid, found.st_gid) == (oct(expected), os.getuid(), os.getgid())


def test_a_product_directory_bears_the_time_of_acquisition_and_a_member_its_own(mount: Mount, safe: Path) -> None:
    assert int(mount.product(ONLINE).stat().st_mtime) == int(
        datetime(2020, 12, 29, 11, 4, 51, tzinfo=timezone.utc).timestamp()
    )
    produced = datetime(2020, 12, 29, 13, 16, 20, tzinfo=timezone.utc).timestamp()
    assert {path.stat().st_mtime for path in everything(safe) if path.is_file()} == {produced}


@pytest.mark.says("`st_blocks` says the full size.")
def test_st_blocks_says_the_full_size(mount: Mount, safe: Path) -> None:
    for path in everything(mount.product(ONLINE)):
        found = path.stat()
        assert found.st_size <= found.st_blocks * 512 < found.st_size + 512


def test_inode_numbers_are_unique(mount: Mount, safe: Path) -> None:
    paths = [mount.root, *everything(mount.product(ONLINE))]
    for uid in UIDS[3:]:
        paths += [mount.product(uid), *mount.product(uid).iterdir(), mount.safe(uid)]
    assert len({path.stat().st_ino for path in paths}) == len(paths)


def test_names_and_inode_numbers_stay_the_same_whatever_the_order_of_the_result(
    mount: Mount, safe: Path, tmp_path: Path
) -> None:
    result = json.loads(mount.result.read_text(encoding="utf-8"))
    random.Random(3).shuffle(result["features"])
    other = tmp_path / "shuffled.geojson"
    other.write_text(json.dumps(result), encoding="utf-8")

    def numbers(root: Path) -> dict[Path, int]:
        return {
            path.relative_to(root): path.stat().st_ino for path in [*root.iterdir(), *everything(root / TITLES[ONLINE])]
        }

    with Mount(tmp_path, other, cache_dir=mount.cache) as second:
        assert numbers(second.root) == numbers(mount.root)


def test_directory_entries_carry_their_type_and_inode_number(mount: Mount, provider: DemoProvider) -> None:
    before = provider.count(kind="quicklook")
    directory = mount.product(UIDS[1])
    entries = {entry.name: entry for entry in os.scandir(directory)}
    assert [name for name, entry in sorted(entries.items()) if entry.is_dir()] == ["data"]
    assert entries["quicklook.jpg"].is_file()
    assert provider.count(kind="quicklook") == before  # to stat it would have cost this request
    assert entries["status"].inode() == (directory / "status").stat().st_ino


@pytest.mark.says("`uid`, `gid`, `umask`")
def test_the_owner_and_the_permissions_can_be_chosen(home: Path, mount: Mount, tmp_path: Path) -> None:
    with Mount(tmp_path, mount.result, uid=4711, gid=4712, umask="027", allow_other=1) as chosen:
        for path, mode in ((chosen.root / TITLES[ONLINE], 0o550), (chosen.root / TITLES[ONLINE] / "status", 0o440)):
            found = path.stat()
            assert (found.st_uid, found.st_gid, oct(stat.S_IMODE(found.st_mode))) == (4711, 4712, oct(mode))


@pytest.mark.says("`ro`, `nodev`, `nosuid`, `noexec`, `noatime` as every FUSE file system has them")
def test_flags_are_those_of_every_mount(mount: Mount, tmp_path: Path) -> None:
    flags = {"ro": os.ST_RDONLY, "nodev": os.ST_NODEV, "nosuid": os.ST_NOSUID, "noexec": os.ST_NOEXEC}
    with Mount(tmp_path, mount.result, **dict.fromkeys([*flags, "noatime"], "true")) as chosen:
        found = os.statvfs(chosen.root).f_flag
        assert {name for name, bit in flags.items() if found & bit} == set(flags)
        assert found & os.ST_NOATIME


@pytest.mark.says("where the log goes; `0`: what went wrong, `1`: what goes on, `2`: everything")
@pytest.mark.parametrize(
    ("verbose", "levels"),
    [(0, {"WARNING"}), (1, {"WARNING", "INFO"}), (2, {"WARNING", "INFO", "DEBUG"})],
    ids=["what went wrong", "what is going on", "everything"],
)
def test_the_log_is_in_its_file_and_as_long_as_verbose_says(
    mount: Mount, provider: DemoProvider, tmp_path: Path, verbose: int, levels: set[str]
) -> None:
    log = tmp_path / "my.log"
    with Mount(tmp_path, mount.result, verbose=verbose, log_file=log) as chosen:
        provider.script[UIDS[1]].append(Reply(404))
        assert error_of(ls, chosen.safe(UIDS[1])) == "ENODATA"
        assert ls(chosen.safe(ONLINE))
    assert {line.split()[2] for line in log.read_text(encoding="utf-8").splitlines()} == levels


@pytest.mark.says("`df` shows the cache: its limit, and what is used.")
def test_df_shows_the_limit_of_the_cache_and_what_is_used(mount: Mount, safe: Path, tmp_path: Path) -> None:
    with Mount(tmp_path, mount.result, cache_dir=mount.cache, cache_size="1G") as limited:
        disk = os.statvfs(limited.root)
        assert disk.f_blocks * disk.f_frsize == 1 << 30
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        there = sum(path.stat().st_size for path in mount.cache.rglob("archive"))
        assert there <= used < there + (4 << 20)
        assert disk.f_bavail == disk.f_bfree


# -- reading only ----------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Path], object]] = {
    "open a file to write": lambda p: open(p / "status", "w"),  # noqa: PTH123, SIM115 - it is not opened
    "open a file to append": lambda p: os.open(p / "metadata.json", os.O_WRONLY | os.O_APPEND),
    "make a file": lambda p: (p / "new").touch(),
    "make a directory": lambda p: (p / "new").mkdir(),
    "remove a file": lambda p: (p / "status").unlink(),
    "remove a directory": lambda p: (p / "data").rmdir(),
    "rename": lambda p: (p / "status").rename(p / "new"),
    "chmod": lambda p: (p / "status").chmod(0o644),
    "chown": lambda p: os.chown(p / "status", 1, 1),
    "truncate": lambda p: os.truncate(p / "status", 0),
    "touch": lambda p: os.utime(p / "status"),
    "link": lambda p: os.link(p / "status", p / "new"),
    "symlink": lambda p: (p / "new").symlink_to("status"),
    "set an attribute": lambda p: os.setxattr(p, "user.mine", b"1"),
    "remove an attribute": lambda p: os.removexattr(p, "user.eofs.id"),
    "make a pipe": lambda p: os.mkfifo(p / "new"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_write_is_refused(mount: Mount, write: Callable[[Path], object]) -> None:
    assert error_of(write, mount.product(ONLINE)) == "EROFS"


@pytest.mark.says("`Thumbs.db`, `.DS_Store`, `.git` and the like never exist")
@pytest.mark.parametrize("where", ["mount", "product", "data", "product root"])
@pytest.mark.parametrize(
    "name", [".hidden", ".Trash", ".Trash-1000", "autorun.inf", ".directory", "desktop.ini", ".git"]
)
def test_what_desktops_look_for_is_not_there_and_costs_nothing(
    mount: Mount, provider: DemoProvider, where: str, name: str
) -> None:
    uid = UIDS[9]
    places = {
        "mount": mount.root,
        "product": mount.product(uid),
        "data": mount.product(uid) / "data",
        "product root": mount.safe(uid),
    }
    before = asked(provider)
    assert error_of((places[where] / name).stat) == "ENOENT"
    assert error_of((places[where] / name).read_bytes) == "ENOENT"
    assert provider.count() == before


@pytest.mark.parametrize("uid", [UIDS[9]], ids=["offline"])
def test_a_name_that_is_too_long_is_said_to_be_too_long(mount: Mount, provider: DemoProvider, uid: str) -> None:
    before = asked(provider)
    for place in (mount.root, mount.product(uid), mount.safe(uid)):
        assert error_of((place / ("n" * 256)).stat) == "ENAMETOOLONG"
    assert error_of((mount.root / ("n" * 255)).stat) == "ENOENT"
    assert provider.count() == before


def test_a_name_that_is_no_utf_8_is_not_there(mount: Mount) -> None:
    assert error_of((mount.root / "\udcff\udcfe").stat) == "ENOENT"


def test_a_file_is_no_directory(mount: Mount) -> None:
    assert error_of(ls, mount.product(ONLINE) / "status") == "ENOTDIR"


# -- status and attributes -------------------------------------------------------------------------------------------


def test_the_status_file_is_yaml_of_one_line_a_key(mount: Mount) -> None:
    text = (mount.product(UIDS[9]) / "status").read_text(encoding="utf-8")
    assert [line.partition(":")[0] for line in text.splitlines()] == STATUS
    said = yaml.safe_load(text)
    archive = features_of(mount)[TITLES[UIDS[9]]]["properties"]
    assert said["storageStatus"] == "OFFLINE"
    assert (said["local"], said["activity"], said["downloaded"]) == ("absent", "idle", 0)
    assert (said["size"], said["provider"], said["title"]) == (archive["resourceSize"], "demo", TITLES[UIDS[9]])
    assert (said["order"], said["error"]) == (None, None)
    assert said["location"] == said["remote_location"] == archive["downloadLink"]


def test_the_status_of_a_product_that_is_here_names_its_place_in_the_mount(mount: Mount, safe: Path) -> None:
    said = mount.status(ONLINE)
    assert (said["storageStatus"], said["local"], said["activity"]) == ("ONLINE", "complete", "idle")
    assert said["location"] == f"file://{safe}"
    assert said["downloaded"] == said["size"] > 1_000_000


def test_a_status_file_has_the_size_that_it_says(mount: Mount, tmp_path: Path) -> None:
    file = mount.product(UIDS[9]) / "status"
    assert int(run("wc", "-c", file).split()[0]) == len(file.read_bytes()) == file.stat().st_size
    shutil.copy(file, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


def test_an_open_status_file_stays_what_it_was_and_the_next_open_is_current(
    mount: Mount, provider: DemoProvider
) -> None:
    uid = UIDS[8]
    with (mount.product(uid) / "status").open(encoding="utf-8") as before:
        ls(mount.safe(uid))
        assert yaml.safe_load(before)["local"] == "absent"
    assert mount.status(uid)["local"] == "partial"
    before_size = (mount.product(uid) / "status").stat().st_size
    assert before_size > 0


@pytest.mark.says("The same keys are extended attributes of the product's directory")
@pytest.mark.parametrize("uid", [ONLINE, UIDS[9]], ids=["complete", "absent"])
def test_the_attributes_of_a_product_say_what_its_status_says(mount: Mount, uid: str) -> None:
    directory, said = mount.product(uid), mount.status(uid)
    assert os.listxattr(directory) == [f"user.eofs.{key}" for key in STATUS]
    for key, value in said.items():
        text = os.getxattr(directory, f"user.eofs.{key}").decode()
        assert text == ("null" if value is None else str(value))


def test_attributes_that_nobody_knows_are_absent_or_not_supported(mount: Mount) -> None:
    directory = mount.product(ONLINE)
    for path in (directory, directory / "status", mount.root):
        assert error_of(os.getxattr, path, "user.mine") == "ENODATA"
        assert error_of(os.getxattr, path, "security.mine") == "ENOTSUP"
    assert os.listxattr(directory / "status") == []


# -- what it costs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path, store: Path) -> Iterator[tuple[Mount, DemoProvider]]:
    """A mount and a provider that nobody has looked at."""
    with (
        DemoProvider(store, megabytes=1, staging_seconds=0.3) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "search_result.geojson")) as mount,
    ):
        yield mount, provider


@pytest.mark.says("`cat status`, `cat metadata.json`; `find -maxdepth 3` nothing")
def test_looking_at_the_tree_costs_nothing_and_the_quicklooks_cost_one_request_each(
    fresh: tuple[Mount, DemoProvider],
) -> None:
    mount, provider = fresh
    found = run("find", mount.root, "-maxdepth", 3).splitlines()
    assert len(found) == 1 + 10 * 6
    for uid in UIDS:
        run("ls", "-la", mount.product(uid) / "data")
        run("cat", mount.product(uid) / "status", mount.product(uid) / "metadata.json")
        run("stat", mount.safe(uid))
        run("du", "-s", mount.product(uid) / "metadata.json")
    run("df", mount.root)
    assert provider.requests == []
    run("ls", "-la", *(mount.product(uid) for uid in UIDS))
    run("ls", "-la", *(mount.product(uid) for uid in UIDS))
    assert provider.count(kind="quicklook", status=200) == provider.count() == 10


@pytest.mark.says("the quicklook, once; then never again, also after a restart")
def test_a_quicklook_is_asked_for_once_and_then_never_again(fresh: tuple[Mount, DemoProvider]) -> None:
    mount, provider = fresh
    picture = (Path(__file__).parent.parent / f"eofs/demo/quicklooks/{TITLES[OFFLINE]}.jpg").read_bytes()
    file = mount.product(OFFLINE) / "quicklook.jpg"
    assert file.stat().st_size == len(picture)
    readers = [subprocess.Popen(["cat", file], stdout=subprocess.PIPE) for _ in range(5)]
    assert [reader.communicate()[0] for reader in readers] == [picture] * 5
    mount.unmount()
    provider.stop()
    mount.start()
    assert file.read_bytes() == picture
    assert provider.count() == provider.count(kind="quicklook") == 1


@pytest.mark.says("`opendir` of the product root, or a look-up of any name inside the order if it is OFFLINE")
@pytest.mark.parametrize("way", ["list the product root", "stat a path inside", "walk through it"])
def test_stepping_into_a_product_orders_waits_and_asks_for_its_list_of_files(
    fresh: tuple[Mount, DemoProvider], way: str
) -> None:
    mount, provider = fresh
    root = mount.safe(OFFLINE)
    if way == "list the product root":
        assert "manifest.safe" in ls(root)
    elif way == "stat a path inside":
        assert (root / "GRANULE").is_dir()
    else:
        assert run("find", root, "-type", "f", "-size", "+100k").count("_B0") == 4
    assert provider.count(OFFLINE, "download", 202) >= 1
    assert ranges_of(provider, OFFLINE) == [LIST]
    assert provider.count() == provider.count(OFFLINE, "download")
    said = mount.status(OFFLINE)
    assert (said["storageStatus"], said["local"], said["downloaded"]) == ("ONLINE", "partial", 131072)


@pytest.mark.says("a product that is read is fetched whole")
@pytest.mark.says("the bytes that are read, first; and, with `fetch=whole` (the default), the rest of the product")
def test_the_first_read_brings_what_is_read_and_then_the_rest_of_the_product(
    fresh: tuple[Mount, DemoProvider],
) -> None:
    mount, provider = fresh
    assert b"XFDU" in (mount.safe(OFFLINE) / "manifest.safe").read_bytes()
    until(lambda: mount.status(OFFLINE)["local"] == "complete")
    said = mount.status(OFFLINE)
    assert (said["activity"], said["location"]) == ("idle", f"file://{mount.safe(OFFLINE)}")
    before = asked(provider)
    assert before == provider.count(OFFLINE, "download")
    run("cp", "-r", mount.safe(OFFLINE), mount.home / "copy")
    assert provider.count() == before


@pytest.mark.says(
    "From a provider that serves no byte ranges the whole archive comes in order, before its files are listed"
)
def test_a_provider_that_serves_no_ranges_is_asked_once_and_sends_all_before_anything_is_listed(
    fresh: tuple[Mount, DemoProvider],
) -> None:
    mount, provider = fresh
    provider.ranges = False
    assert "manifest.safe" in ls(mount.safe(ONLINE))
    assert mount.status(ONLINE)["local"] == "complete"
    run("cp", "-r", mount.safe(ONLINE), mount.home / "copy")
    assert provider.count() == provider.count(ONLINE, "download", 200) == 1


@pytest.mark.says("a crawler asks for what is not in the cache EACCES")
@pytest.mark.says("any of this by a crawler nothing: what is in the cache is served, the rest is EACCES")
def test_a_crawler_gets_what_is_here_and_nothing_else(mount: Mount, safe: Path, provider: DemoProvider) -> None:
    crawl = "import os, sys; open('/proc/self/comm', 'w').write('updatedb'); print(len(os.listdir(sys.argv[1])))"
    before = asked(provider)
    command: list[str | Path] = [sys.executable, "-c", crawl, mount.safe(UIDS[9])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr
    assert run(sys.executable, "-c", crawl, safe) == f"{len(ls(safe))}\n"
    assert provider.count() == before


# -- the bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deflated", [False, True], ids=["stored", "deflated"])
def test_all_files_are_those_of_the_archive_whatever_program_reads_them(tmp_path: Path, deflated: bool) -> None:
    with DemoProvider(tmp_path / "store", megabytes=12, deflated=deflated, products=ten_products()[2:3]) as provider:
        result = provider.write_result(tmp_path / "search_result.geojson")
        with Mount(tmp_path, result) as mount:
            data = mount.product(ONLINE) / "data"
            archive = provider.archive(ONLINE)
            with zipfile.ZipFile(archive) as file:
                file.extractall(tmp_path / "extracted")
            sums = archive.with_suffix(".md5")
            checked = subprocess.run(["md5sum", "--check", "--quiet", sums], cwd=data, capture_output=True, check=False)
            assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
            until(lambda: mount.status(ONLINE)["local"] == "complete")
            before = asked(provider)
            assert len(sums.read_text().splitlines()) == sum(path.is_file() for path in everything(data))
            run("diff", "-r", tmp_path / "extracted", data)
            run("cp", "-r", data, tmp_path / "copied")
            run("diff", "-r", tmp_path / "extracted", tmp_path / "copied")
            run("tar", "-C", data, "-cSf", tmp_path / "data.tar", ".")
            (tmp_path / "untarred").mkdir()
            run("tar", "-C", tmp_path / "untarred", "-xf", tmp_path / "data.tar")
            run("diff", "-r", tmp_path / "extracted", tmp_path / "untarred")
            read_at_random(mount.safe(ONLINE), tmp_path / "extracted" / f"{TITLES[ONLINE]}.SAFE")
            assert provider.count() == before


def read_at_random(served: Path, extracted: Path) -> None:
    dice = random.Random(20)
    files = [path.relative_to(extracted) for path in everything(extracted) if path.is_file()]
    largest = sorted(files, key=lambda path: (extracted / path).stat().st_size)[-4:]
    for name in [*largest, *dice.sample(files, 6)]:
        expected = (extracted / name).read_bytes()
        edges = [edge + step for edge in range(0, len(expected) + 1, 65536) for step in (-1, 0, 1)]
        with (served / name).open("rb", buffering=0) as file:
            for _ in range(60):
                offset = max(0, dice.choice([*edges, dice.randrange(len(expected) + 10)]))
                size = dice.choice([1, 2, 4095, 4096, 65535, 65536, 65537, 1 << 20])
                assert os.pread(file.fileno(), size, offset) == expected[offset : offset + size]
            assert os.pread(file.fileno(), 10, len(expected)) == b""
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == expected


def test_a_file_can_be_copied_by_the_kernel(safe: Path, tmp_path: Path, provider: DemoProvider) -> None:
    name = next(path for path in everything(safe) if path.name.endswith("_B02.jp2"))
    shutil.copyfile(name, tmp_path / "copy")  # sendfile(2)
    md5 = hashlib.md5((tmp_path / "copy").read_bytes()).hexdigest()
    assert md5 == provider.md5sums(ONLINE)[str(name.relative_to(safe.parent))]


@pytest.mark.says("What has come once is not asked for again.")
def test_reading_again_asks_for_nothing(mount: Mount, safe: Path, provider: DemoProvider) -> None:
    before = asked(provider)
    for path in everything(safe):
        if path.is_file():
            path.read_bytes()
    assert provider.count() == before


@pytest.mark.says("A complete product is served with no network and no credentials.")
def test_a_product_that_is_here_needs_neither_network_nor_credentials(tmp_path: Path, store: Path) -> None:
    settings = tmp_path / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        "mine:\n"
        "  auth: {type: basic, credentials: {username: demo, password: demo}, hosts: ['127.0.0.1:*']}\n"
        "  download: {dl_url_params: {issuerId: mine}}\n",
        encoding="utf-8",
    )
    settings.chmod(0o600)
    with DemoProvider(store, megabytes=1) as provider:
        result = provider.write_result(tmp_path / "search_result.geojson")
        result.write_text(result.read_text(encoding="utf-8").replace('"demo"', '"mine"'), encoding="utf-8")
        with Mount(tmp_path, result) as mount:
            assert mount.status(ONLINE)["provider"] == "mine"
            mount.bring(ONLINE)
            provider.stop()
            mount.unmount()
            settings.unlink()
            mount.start()
            assert b"XFDU" in (mount.safe(ONLINE) / "manifest.safe").read_bytes()
            said = mount.status(ONLINE)
            assert (said["local"], said["storageStatus"], said["error"]) == ("complete", "ONLINE", None)


def test_an_archive_that_is_not_a_safe_stands_inside_the_product_root_as_it_is(tmp_path: Path, store: Path) -> None:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("X_V2-0/a/b.txt", "b")
        archive.writestr("X_V2-0/empty/", "")
        archive.writestr("X_V2-0/odd\xe9.txt", "odd")
    odd = content.getvalue().replace("odd\xe9".encode(), b"odd\xff\xfe")  # said to be UTF-8, and is not
    with DemoProvider(store, megabytes=1) as provider:
        provider.script[ONLINE].append(Reply(200, {"Content-Type": "application/zip"}, odd))
        result = provider.write_result(tmp_path / "search_result.geojson")
        changed = json.loads(result.read_text(encoding="utf-8"))
        for feature in changed["features"]:
            for key in ("resourceChecksum", "resourceSize", "services"):
                del feature["properties"][key]
        result.write_text(json.dumps(changed), encoding="utf-8")
        with Mount(tmp_path, result) as mount:
            inside = mount.safe(ONLINE) / "X_V2-0"
            assert (inside / "a/b.txt").read_bytes() == b"b"
            assert ls(inside / "empty") == []
            assert run("find", inside, "-type", "d").count("\n") == 3
            assert ls(inside) == ["a", "empty", "odd\udcff\udcfe.txt"]
            assert (inside / "odd\udcff\udcfe.txt").read_bytes() == b"odd"


@pytest.mark.says("`false`: serve the archive as one file")
def test_without_extraction_the_product_root_holds_the_archive_itself(tmp_path: Path, provider: DemoProvider) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), extract="false") as mount:
        root = mount.safe(ONLINE)
        [name] = ls(root)
        assert (root / name).read_bytes() == provider.archive(ONLINE).read_bytes()
