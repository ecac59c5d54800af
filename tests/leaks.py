"""Tests that let a secret be seen, each in its own way; tests/test_no_secrets.py has them run, and fail."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest
from confidential import PASSWORD
from conftest import Mount, eofs
from engine_room import Room

from eofs import errors, model

if TYPE_CHECKING:
    from pathlib import Path

    from eofs.demo import DemoProvider

LOG = logging.getLogger("eofs.leaks")
FORMS = {
    "plain": PASSWORD,
    "percent-encoded": quote_plus(PASSWORD),
    "Basic": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode(),
    "JSON": json.dumps({"password": PASSWORD}),
    "repr": repr(PASSWORD.encode()),
}


def test_nothing() -> None:
    LOG.warning("nothing of the kind")


@pytest.mark.parametrize("form", FORMS)
def test_a_record_that_nobody_keeps(form: str) -> None:
    LOG.debug("got %s", FORMS[form])


def test_a_traceback() -> None:
    try:
        int(PASSWORD)
    except ValueError:
        LOG.exception("this went wrong")


def test_an_error() -> None:
    assert errors.AccessRefused(f"{PASSWORD} was refused; give another")


def test_a_status(provider: DemoProvider, tmp_path: Path) -> None:
    room = Room(provider, tmp_path / "cache")
    product = replace(next(iter(room.products.values())), title=PASSWORD)
    assert room.start().status(product, "/mnt")
    room.close()


def test_a_record_of_the_cache(provider: DemoProvider, tmp_path: Path) -> None:
    room = Room(provider, tmp_path / "cache")
    room.start()
    product = next(iter(room.products.values()))
    room.cache.records.note_order(product, model.Order(placed=1.0, id=PASSWORD))
    room.close()


def test_a_fetched_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/metadata.json").write_text(FORMS["JSON"], encoding="utf-8")


def test_a_program(tmp_path: Path) -> None:
    assert eofs("ls", tmp_path / f"{PASSWORD}.geojson", home=tmp_path).returncode == 1


@pytest.mark.mount
def test_a_daemon(provider: DemoProvider, tmp_path: Path) -> None:
    result = provider.write_result(tmp_path / "result.geojson")
    with Mount(tmp_path, result, log_file=tmp_path / f"{PASSWORD}.log"):
        pass


@pytest.mark.mount
def test_a_mount(provider: DemoProvider, tmp_path: Path) -> None:
    result = provider.result()
    result["features"][0]["properties"]["title"] = PASSWORD
    (tmp_path / "result.geojson").write_text(json.dumps({**result, "features": result["features"][:1]}))
    with Mount(tmp_path, tmp_path / "result.geojson"):
        (tmp_path / "result.geojson").unlink()


def test_nothing_after_all_that() -> None:
    LOG.warning("nothing of the kind")
