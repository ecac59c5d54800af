"""``eofs providers``: who is known, what each wants for a log-in, and whether it is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from confidential import APIKEY, PASSWORD
from conftest import eofs
from engine_room import Canned, http
from token_server import NAME

if TYPE_CHECKING:
    from pathlib import Path

BY_VARIABLES = {
    "EODAG__COP_DATASPACE__AUTH__CREDENTIALS__USERNAME": NAME,
    "EODAG__COP_DATASPACE__AUTH__CREDENTIALS__PASSWORD": PASSWORD,
    "EODAG__SARA__AUTH__CREDENTIALS__USERNAME": NAME,
}


def write(home: Path, text: str) -> None:
    (home / ".config/eofs").mkdir(parents=True)
    (home / ".config/eofs/eofs.yml").write_text(text, encoding="utf-8")
    (home / ".config/eofs/eofs.yml").chmod(0o600)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    write(
        home,
        f"geodes: {{auth: {{credentials: {{apikey: {APIKEY}}}}}}}\n"
        "mine: {title: The mirror of my institute, hosts: [mirror.example], auth: {type: basic}}\n"
        "other: {auth: {type: EOIAMAuth}}\n",
    )
    return home


@pytest.mark.says(
    "the built-in providers and the user's own: how each logs in, which credentials it wants (those that it can "
    "do without in brackets), whether they are there and from where"
)
def test_all_providers_are_listed_with_what_they_want_and_where_it_is(home: Path) -> None:
    done = eofs("providers", home=home, env=BY_VARIABLES)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert rows["NAME"].split() == ["LOG-IN", "CREDENTIALS", "THERE", "FROM", "WHAT", "IT", "IS"]
    variables = " and ".join(sorted(name for name in BY_VARIABLES if "COP" in name))
    expected = {
        "cop_dataspace": f"oidc_password username, password, [totp] yes {variables} Copernicus Data Space Ecosystem",
        "sara": "basic username, password no password EODAG__SARA__AUTH__CREDENTIALS__USERNAME Sentinel Australasia",
        "geodes": "header apikey yes ~/.config/eofs/eofs.yml GEODES, the Earth observation portal",
        "eumetsat_ds": "client_credentials username, password no EUMETSAT Data Store",
        "earth_search": "s3 [aws_access_key_id], [aws_secret_access_key] Earth Search",
        "planetary_computer": "signed [apikey] Planetary Computer",
        "theia": "signed access_key, secret_key no Theia, the thematic hub for land data",
        "theia_muscate": "token ident, pass no this service of Theia has closed, its products are at GEODES",
        "mine": "basic username, password no The mirror of my institute",
        "other": "EOIAMAuth (unknown)",
    }
    assert {name: " ".join(rows[name].split())[: len(text)] for name, text in expected.items()} == expected


@pytest.mark.says("`eofs providers` says whose they are.")
def test_it_is_said_whose_credentials_are_taken(tmp_path: Path) -> None:
    write(tmp_path, f"dedl: {{auth: {{credentials: {{username: {NAME}, password: '{PASSWORD}'}}}}}}\n")
    done = eofs("providers", "dedt_lumi", "dedl", home=tmp_path)
    rows = {line.split()[0]: " ".join(line.split()) for line in done.stdout.splitlines()}
    assert "yes ~/.config/eofs/eofs.yml, of dedl " in rows["dedt_lumi"]
    assert "yes ~/.config/eofs/eofs.yml Destin" in rows["dedl"]


@pytest.mark.says("whether they are there and from where, never their values; `--json`.")
def test_they_are_told_as_json(home: Path) -> None:
    told = json.loads(eofs("providers", "--json", home=home, env=BY_VARIABLES).stdout)
    rows = {row["name"]: row for row in told}
    assert list(rows) == sorted(rows)
    assert rows["sara"] == {
        "name": "sara",
        "title": "Sentinel Australasia Regional Access (Geoscience Australia)",
        "closed": None,
        "login": "basic",
        "credentials": ["username", "password"],
        "optional": [],
        "missing": ["password"],
        "from": "EODAG__SARA__AUTH__CREDENTIALS__USERNAME",
        "trouble": None,
    }
    assert rows["onda"]["closed"].startswith("ONDA has closed")


@pytest.mark.says("never their values")
@pytest.mark.parametrize("how", [[], ["--json"], ["-vv"]])
def test_no_value_of_a_credential_is_shown(home: Path, how: list[str]) -> None:
    done = eofs("providers", *how, home=home, env=BY_VARIABLES)
    assert done.returncode == 0
    assert not [secret for secret in (NAME, PASSWORD, APIKEY) if secret in done.stdout + done.stderr]


@pytest.mark.says("It asks no provider")
def test_nobody_is_asked(home: Path) -> None:
    with Canned(http(502)) as proxy:  # whatever is not on this machine would be asked for here
        env = {**BY_VARIABLES, "HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url}
        assert eofs("providers", home=home, env=env).returncode == 0
        assert proxy.asked == []
        eofs("providers", "--check", "cop_dataspace", home=home, env=env)
        assert proxy.asked


def test_a_configuration_that_cannot_be_meant_is_one_sentence(home: Path) -> None:
    done = eofs("providers", home=home, env={"EODAG__GEODES__AUTH__TYPE": "heder"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eofs: EODAG__GEODES__AUTH__TYPE: geodes.auth.type cannot be 'heder'")
