"""Products in folders are browsed, read, followed and spoken of by commands as those next to each other are."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin_blocked, error_of, ls, run, until
from machine import SRV, Machine
from test_following import features, replace, text

from eofs.demo import DemoProvider

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from test_following import Feature

pytestmark = pytest.mark.mount
MONTHS = "{collection}/{start:%Y/%m}/{title}"
NEVER = 1e9  # seconds


def path_of(uid: str) -> str:
    """Return where a product of the demo stands: its title tells when it was acquired."""
    title = TITLES[uid]
    when = title.split("_")[2]
    return f"S2_MSI_L1C/{when[:4]}/{when[4:6]}/{title}"


def shown(mount: Mount) -> list[str]:
    """Return the paths of all directories down to those of products."""
    lines = run("find", mount.root, "-mindepth", "1", "-maxdepth", "4", "-printf", "%y%P\n").splitlines()
    return sorted(line.removeprefix("d") for line in lines)


def paths(*uids: str) -> list[str]:
    products = [Path(path_of(uid)) for uid in uids]
    return sorted({str(path) for one in products for path in (one, *one.parents)} - {"."})


@pytest.fixture
def months(tmp_path: Path, provider: DemoProvider) -> Iterator[Mount]:
    """All that the provider has, by years and months."""
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), layout=MONTHS) as mounted:
        yield mounted


# -- the tree ----------------------------------------------------------------------------------------------------------


@pytest.mark.says("and looking at it asks for nothing")
def test_folders_are_looked_at_for_nothing(months: Mount, provider: DemoProvider) -> None:
    assert shown(months) == paths(*UIDS)
    before = {path: (months.root / path).stat() for path in shown(months)}
    assert {stat.S_IMODE(found.st_mode) for found in before.values()} == {0o555}
    assert len({found.st_ino for found in before.values()} | {months.root.stat().st_ino}) == len(before) + 1
    for directory in (months.root, months.root / "S2_MSI_L1C"):
        with os.scandir(directory) as entries:
            assert all(entry.is_dir() and entry.inode() == entry.stat().st_ino for entry in entries)
    run("find", months.root, "-maxdepth", "6", "-not", "-name", "quicklook.*", "-ls")
    run("ls", "-laR", *[months.root / path for path in paths(*UIDS) if path.count("/") < 3], "--ignore=*_MSIL1C_*")
    assert os.statvfs(months.root).f_files == len(UIDS)
    assert [request for request in provider.requests if request.kind != "quicklook"] == []
    months.unmount()
    months.start()
    assert {path: (months.root / path).stat().st_ino for path in shown(months)} == {
        path: found.st_ino for path, found in before.items()
    }


def test_a_product_in_folders_is_read_and_says_where_it_stands(months: Mount, provider: DemoProvider) -> None:
    directory = months.root / path_of(ONLINE)
    root = directory / "data" / f"{TITLES[ONLINE]}.SAFE"
    assert (root / "manifest.safe").read_bytes()
    until(lambda: os.getxattr(directory, "user.eofs.local") == b"complete")
    assert f"location: file://{root}" in (directory / "status").read_text(encoding="utf-8").splitlines()
    assert os.getxattr(directory, "user.eofs.id").decode() in (directory / "metadata.json").read_text(encoding="utf-8")
    assert error_of((months.root / "S2_MSI_L1C" / "1999").stat) == "ENOENT"
    assert error_of((months.root / TITLES[ONLINE]).stat) == "ENOENT"
    assert error_of((months.root / "S2_MSI_L1C" / "new").mkdir) == "EROFS"
    assert error_of((months.root / "S2_MSI_L1C" / ("x" * 256)).stat) == "ENAMETOOLONG"


# -- commands ----------------------------------------------------------------------------------------------------------


def said(mount: Mount, *words: object) -> str:
    done = mount.eofs(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.says(
    "`eofs ls`, `status` and `fetch` take a folder of a mount, too, for the products in it",
    "they, and `cancel`, `evict` and `retry`, name a product by its path below what they were given, or the mount",
)
def test_commands_name_products_by_their_paths(months: Mount) -> None:
    def names(place: Path) -> list[str]:
        return sorted(row["name"] for row in json.loads(said(months, "ls", "--json", place)))

    assert names(months.root) == sorted(map(path_of, UIDS))
    folder = (months.root / path_of(ONLINE)).parent
    assert names(folder) == ls(folder)
    assert sorted(json.loads(said(months, "status", "--json", months.root))["products"]) == sorted(map(path_of, UIDS))
    assert said(months, "status", months.root).startswith(f"{months.result} on {months.root}: 10 products, 0 complete;")
    assert said(months, "status", folder).startswith(f"{folder}: {len(ls(folder))} products, 0 complete;")


def test_cancel_evict_and_retry_take_any_path_inside_a_product(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), layout=MONTHS) as mount,
    ):
        directory = mount.root / path_of(OFFLINE)
        root = directory / "data" / f"{TITLES[OFFLINE]}.SAFE"
        readers.append(begin_blocked("ls", root))
        until(lambda: b"placed" in os.getxattr(directory, "user.eofs.order"))
        assert said(mount, "cancel", root / "no/such") == f"{path_of(OFFLINE)}: stopped; its order stays placed\n"
        assert "Operation canceled" in readers[0].communicate(timeout=60)[1]
        assert said(mount, "retry", directory).startswith(f"{path_of(OFFLINE)}: its failure is forgotten; ")
        online = mount.root / path_of(ONLINE)
        with next((online / "data").iterdir()).joinpath("manifest.safe").open("rb") as opened:
            assert opened.read()
            until(lambda: os.getxattr(online, "user.eofs.local") == b"complete")
            done = mount.eofs("evict", online)
            assert f"{TITLES[ONLINE]} is in use by " in done.stderr
            assert f"({os.getpid()})" in done.stderr
        assert said(mount, "evict", online).endswith(" freed\n")
        for place, sentence in (
            (mount.root, f"{mount.root} is a mount; name the directory of a product in it"),
            (online.parent, f"{online.parent} holds products; name the directory of a product in it"),
            (online.parent / "none", f"{mount.root} has no product {Path(path_of(ONLINE)).parent}/none"),
        ):
            assert mount.eofs("retry", place).stderr == f"eofs: {sentence}\n"


@pytest.mark.says("What is put outside of a mount (`--output`) stands in no folders")
def test_a_folder_is_fetched_by_reading_it(tmp_path: Path, provider: DemoProvider) -> None:
    found = features(provider, *UIDS[:3])
    found[1]["properties"] |= {"title": found[0]["properties"]["title"], "eodag_product_type": "OTHER"}
    result = tmp_path / "r.geojson"
    result.write_bytes(text(found))
    with Mount(tmp_path, result, layout="{collection}/{title}") as mount:
        folder, out = mount.root / "S2_MSI_L1C", tmp_path / "out"
        printed = mount.eofs("fetch", folder, "--output", out).stdout.splitlines()
        assert sorted(printed) == sorted(f"{out}/{name}/{name}.SAFE" for name in ls(folder))
        [other] = mount.eofs("fetch", mount.root / "OTHER").stdout.splitlines()
        assert Path(other).parent.parent == mount.root / "OTHER" / TITLES[UIDS[0]]
        mount.eofs("fetch", mount.root, "--output", tmp_path / "all")
        assert ls(tmp_path / "all") == sorted([*ls(folder), f"{TITLES[UIDS[0]]}~2"])


# -- a result that changes ---------------------------------------------------------------------------------------------


@pytest.mark.says("A folder comes with its first product and goes with its last")
def test_products_come_and_go_with_their_folders(tmp_path: Path, provider: DemoProvider) -> None:
    by_month: dict[str, list[str]] = {}
    for uid in UIDS:
        by_month.setdefault(str(Path(path_of(uid)).parent), []).append(uid)
    (first, some), (second, more) = list(by_month.items())[:2]
    result = tmp_path / "r.geojson"
    result.write_bytes(text(features(provider, *some)))
    with Mount(tmp_path, result, layout=MONTHS) as mount:
        old, new = mount.root / path_of(some[0]), mount.root / path_of(more[0])
        number, changed = old.stat().st_ino, mount.root.joinpath(first).stat().st_mtime_ns
        assert not new.exists()  # which the kernel remembers
        replace(result, text(features(provider, *some, *more)))
        until(new.exists)
        assert shown(mount) == paths(*some, *more)
        assert {"data", "status"} < set(ls(new))
        assert mount.root.joinpath(first).stat().st_mtime_ns == changed
        here = os.open(old.parent, os.O_RDONLY | os.O_DIRECTORY)  # somebody stands in the folder that goes
        replace(result, text(features(provider, *more)))
        until(lambda: not old.exists() and not mount.root.joinpath(first).exists())
        assert shown(mount) == paths(*more)
        assert error_of(os.stat, f"/proc/self/fd/{here}/{old.name}") == "ENOENT"
        os.close(here)
        replace(result, text(features(provider, *some, *more)))
        until(old.exists)
        assert old.stat().st_ino == number
        assert shown(mount) == paths(*some, *more)
        replace(result, text([]))
        until(lambda: ls(mount.root) == [])
        replace(result, text(features(provider, *some)))
        until(lambda: shown(mount) == paths(*some))
        assert second


def test_who_has_something_open_in_a_folder_that_goes_reads_it_to_its_end(
    tmp_path: Path, provider: DemoProvider
) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), layout=MONTHS) as mount:
        directory = mount.root / path_of(ONLINE)
        root = directory / "data" / f"{TITLES[ONLINE]}.SAFE"
        expected = {name: (root / name).read_bytes() for name in ("manifest.safe", "INSPIRE.xml")}
        inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        replace(mount.result, text([]))
        until(lambda: ls(mount.root) == [] and not directory.exists())
        for name, content in expected.items():
            with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=inside), "rb") as file:
                assert file.read() == content
        os.close(inside)


def same_title(provider: DemoProvider) -> tuple[Feature, Feature]:
    """Two products of one title, and so of one path."""
    first, second = features(provider, *UIDS[:2])
    for said in ("title", "startTimeFromAscendingNode"):
        second["properties"][said] = first["properties"][said]
    return first, second


@pytest.mark.parametrize(("layout", "above"), [("{title}", ""), (MONTHS, "*/*/*/")], ids=["flat", "months"])
def test_a_path_is_given_to_no_other_product_while_its_last_one_is_open(
    tmp_path: Path, provider: DemoProvider, layout: str, above: str
) -> None:
    """Also not when that is shown no more in between."""
    first, second = same_title(provider)
    result = tmp_path / "r.geojson"
    result.write_bytes(text([first]))
    with Mount(tmp_path, result, layout=layout) as mount:
        [file] = [*mount.root.glob(f"{above}*/metadata.json")]
        with file.open("rb") as opened:
            replace(result, text(features(provider, OFFLINE)))
            until(lambda: not file.exists())
            replace(result, text([second, *features(provider, ONLINE)]))
            until(lambda: [*mount.root.glob(above + TITLES[ONLINE])])
            assert not file.exists()
            assert json.load(opened) == first
        until(file.exists)
        assert json.loads(file.read_bytes()) == second


@pytest.mark.parametrize(("layout", "above"), [("{title}", ""), (MONTHS, "*/*/*/")], ids=["flat", "months"])
@pytest.mark.parametrize(
    ("between", "stands"),
    [([], False), ([OFFLINE], False), ([], True)],
    ids=["at once", "gone in between", "where somebody stands"],
)
def test_the_kernel_keeps_no_byte_of_a_product_whose_path_is_anothers(
    tmp_path: Path, provider: DemoProvider, layout: str, above: str, between: list[str], stands: bool
) -> None:
    both = same_title(provider)
    result = tmp_path / "r.geojson"
    result.write_bytes(text([both[0]]))
    with Mount(tmp_path, result, layout=layout, extract="false") as mount, contextlib.ExitStack() as stack:
        [place] = mount.root.glob(f"{above}*")
        here = os.open(place, os.O_PATH)
        stack.callback(os.close, here)
        directory = Path(f"/proc/self/fd/{here}") if stands else place

        def shows(one: Feature) -> bool:
            with contextlib.suppress(FileNotFoundError):
                return bool(json.loads((directory / "metadata.json").read_bytes()) == one)
            return False

        for turn in range(4):
            uid, one = UIDS[turn % 2], both[turn % 2]
            replace(result, text([one]))
            until(lambda: shows(one))  # noqa: B023
            expected = provider.archive(uid).read_bytes()
            [file] = (directory / "data").glob("*/*")
            if stands:  # the kernel's look at its size may be a second old
                until(lambda: file.read_bytes() == expected)  # noqa: B023
            assert file.read_bytes() == expected
            if between:
                replace(result, text(features(provider, *between)))
                until(lambda: not shows(one))  # noqa: B023


# -- how it is said ----------------------------------------------------------------------------------------------------


def machine_layout(kind: str, way: str, machine: Machine) -> None:
    template = "{collection}/{start:%Y\\,%m/%d}/{title}"
    options = f"nofail,cache_dir={SRV}/cache,layout={template},wait=0.1"
    if way == "fstab":
        machine.write("fstab", f"{SRV}/r.geojson {SRV}/mnt {kind} {options} 0 0\n")
        assert machine.said("mount", SRV / "mnt") == ""
    else:
        assert machine.said("mount", "-t", kind, SRV / "r.geojson", SRV / "mnt", "-o", options) == ""


@pytest.mark.parametrize("kind", ["fuse.eofs", "eofs"])
@pytest.mark.parametrize("way", ["mount", "fstab"])
def test_mount_8_takes_a_template(tmp_path: Path, provider: DemoProvider, kind: str, way: str) -> None:
    with Machine(tmp_path) as machine:
        provider.write_result(tmp_path / "r.geojson").chmod(0o644)
        machine_layout(kind, way, machine)
        when = [title.split("_")[2] for title in TITLES.values()]
        expected = sorted({f"S2_MSI_L1C/{day[:4]},{day[4:6]}/{day[6:8]}" for day in when})
        found = machine.said("find", SRV / "mnt", "-mindepth", "3", "-maxdepth", "3", "-printf", "%P\n")
        assert sorted(found.split()) == expected
        assert machine.said("umount", SRV / "mnt") == ""
        until(lambda: not machine.residents())


@pytest.mark.parametrize("way", ["file", "variable", "--layout"])
def test_a_layout_is_said_like_any_option(tmp_path: Path, provider: DemoProvider, way: str) -> None:
    mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"))
    settings = tmp_path / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    template = "{start:%Y/%m}/{id}"
    if way == "file":
        settings.write_text(f"eofs: {{layout: '{template}'}}\n", encoding="utf-8")
    how: dict[str, Any] = {"env": {"EOFS__LAYOUT": template}} if way == "variable" else {}
    try:
        done = mount.eofs(*mount.command, *(["--layout", template] if way == "--layout" else []), **how)
        assert (done.returncode, done.stderr) == (0, "")
        assert ls(mount.root) == sorted({title.split("_")[2][:4] for title in TITLES.values()})
    finally:
        mount.end()
