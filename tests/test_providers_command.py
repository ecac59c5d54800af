"""``eofs providers``; and built-in providers as a user meets them, played by a server on this machine."""

from __future__ import annotations

import json
import zipfile
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from conftest import eofs
from nodes_server import NodesServer
from token_server import NAME, PASSWORD, TokenServer

from eofs.demo import DemoProvider, Reply, ten_products

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from eofs.demo.replies import Request

KEY = "key-of-alice-1a2b3c"
FOUND = ten_products()
ONLINE, OFFLINE = (
    next(found for found in FOUND if found["properties"]["storageStatus"] == status) for status in ("ONLINE", "OFFLINE")
)
BY_VARIABLES = {
    "EODAG__COP_DATASPACE__AUTH__CREDENTIALS__USERNAME": NAME,
    "EODAG__COP_DATASPACE__AUTH__CREDENTIALS__PASSWORD": PASSWORD,
    "EODAG__SARA__AUTH__CREDENTIALS__USERNAME": NAME,
}


# -- the table ---------------------------------------------------------------------------------------------------------


def write(home: Path, text: str) -> None:
    (home / ".config/eofs").mkdir(parents=True)
    (home / ".config/eofs/eofs.yml").write_text(text, encoding="utf-8")
    (home / ".config/eofs/eofs.yml").chmod(0o600)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    write(
        home,
        f"geodes: {{auth: {{credentials: {{apikey: {KEY}}}}}}}\n"
        "mine: {title: The mirror of my institute, hosts: [mirror.example], auth: {type: basic}}\n"
        "other: {auth: {type: OIDCTokenExchangeAuth}}\n",
    )
    return home


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
        "earth_search": "none Earth Search",
        "planetary_computer": "signed [apikey] Planetary Computer",
        "theia": "token ident, pass no this service of Theia has closed, its products are at GEODES",
        "mine": "basic username, password no The mirror of my institute",
        "other": "OIDCTokenExchangeAuth (unknown)",
    }
    assert {name: " ".join(rows[name].split())[: len(text)] for name, text in expected.items()} == expected


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
    }
    assert rows["onda"]["closed"].startswith("ONDA has closed")


@pytest.mark.parametrize("how", [[], ["--json"], ["-vv"]])
def test_no_value_of_a_credential_is_shown(home: Path, how: list[str]) -> None:
    done = eofs("providers", *how, home=home, env=BY_VARIABLES)
    assert done.returncode == 0
    assert not [secret for secret in (NAME, PASSWORD, KEY) if secret in done.stdout + done.stderr]


def test_a_configuration_that_cannot_be_meant_is_one_sentence(home: Path) -> None:
    done = eofs("providers", home=home, env={"EODAG__GEODES__AUTH__TYPE": "heder"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eofs: EODAG__GEODES__AUTH__TYPE: geodes.auth.type cannot be 'heder'")


# -- from the log-in to the product ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Copernicus(NodesServer):
    """The Data Space: a catalogue that redirects to another host, which wants the token of a third."""

    _: KW_ONLY
    moved: bool = True
    tokens: list[str] = field(default_factory=list, init=False)
    forms: list[dict[str, str]] = field(default_factory=list, init=False)
    shown: set[tuple[str, str]] = field(default_factory=set, init=False)

    def answer(self, request: Request) -> Reply | None:
        """Describe the log-in, log in, or answer as a catalogue."""
        json_head = {"Content-Type": "application/json"}
        if request.path == "/about":
            return Reply(200, json_head, json.dumps({"token_endpoint": f"{self.url}/token"}).encode())
        if request.path == "/token":
            self.tokens.append(f"access-{len(self.tokens)}")
            self.forms.append(dict(parse_qsl(request.body.decode())))
            return Reply(200, json_head, json.dumps({"access_token": self.tokens[-1], "expires_in": 600}).encode())
        return super().answer(request)

    def reply_to(self, request: Request) -> Reply:
        """Let in who shows a token."""
        shown = request.headers.get("authorization", "")
        self.shown.add((request.headers["host"].partition(":")[0], shown))
        return super().reply_to(replace(request, authorised=shown.removeprefix("Bearer ") in self.tokens))


@dataclass(eq=False)
class Geodes(DemoProvider):
    """A provider that wants a key in a header, and brings what is on tape when it is asked for it."""

    def reply_to(self, request: Request) -> Reply:
        """Let in who shows the key."""
        return super().reply_to(replace(request, authorised=request.headers.get("x-api-key") == KEY))


def bring(home: Path, result: dict[str, Any], **env: str) -> CompletedProcess[str]:
    """Fetch a result into ``home/out``, as a user does."""
    (home / "result.geojson").write_text(json.dumps(result), encoding="utf-8")
    options = ("--wait", "0.005", "--timeout", "5", "--log-file", home / "eofs.log")
    done = eofs("fetch", home / "result.geojson", "--output", home / "out", *options, home=home, env=env)
    seen = done.stdout + done.stderr + (home / "eofs.log").read_text(encoding="utf-8")
    assert not [secret for secret in (PASSWORD, KEY, "access-", "sig=") if secret in seen]
    return done


def of(name: str, server: DemoProvider) -> dict[str, Any]:
    """Return the server's result, as of the provider of that name; what the server wants in the query is there."""
    result = server.result()
    for feature in result["features"]:
        said = feature["properties"]
        feature["properties"] = {**said, "eodag_provider": name, "downloadLink": f"{said['downloadLink']}?issuerId=me"}
    return result


def is_there(home: Path, server: DemoProvider, found: dict[str, Any]) -> bool:
    """Tell whether a product's extracted files are there, to the byte."""
    with zipfile.ZipFile(server.archive(found["properties"]["uid"])) as zipped:
        files = [info for info in zipped.infolist() if not info.is_dir()]
        there = home / "out" / found["properties"]["title"]
        return all((there / info.filename).read_bytes() == zipped.read(info) for info in files)


def test_a_product_of_copernicus_comes_with_one_log_in_and_across_its_redirect(tmp_path: Path) -> None:
    with Copernicus(tmp_path / "store", products=[ONLINE], megabytes=1) as server:
        write(
            home := tmp_path / "home",
            f"cop_dataspace: {{auth: {{oidc_config_url: '{server.url}/about',"
            f" hosts: ['127.0.0.1:{server.port}', 'localhost:{server.port}']}}}}",
        )
        credentials = {name: value for name, value in BY_VARIABLES.items() if "COP" in name}
        done = bring(home, of("cop_dataspace", server), **credentials)
        assert (done.returncode, server.tokens) == (0, ["access-0"]), done.stderr
        said = {"client_id": "cdse-public", "grant_type": "password", "username": NAME, "password": PASSWORD}
        assert server.forms == [said]
        assert is_there(home, server, ONLINE)
        assert server.shown >= {("127.0.0.1", "Bearer access-0"), ("localhost", "Bearer access-0")}


def test_a_redirect_to_a_host_that_is_not_the_providers_takes_no_token_along(tmp_path: Path) -> None:
    with Copernicus(tmp_path / "store", products=[ONLINE], megabytes=1) as server:
        hosts = f"oidc_config_url: '{server.url}/about', hosts: ['127.0.0.1:{server.port}']"
        write(home := tmp_path / "home", f"cop_dataspace: {{auth: {{{hosts}}}}}")
        done = bring(home, of("cop_dataspace", server), **BY_VARIABLES)
        assert done.returncode == 1
        assert "not one of its hosts: if it is, add it to cop_dataspace.auth.hosts" in done.stderr
        assert {shown for host, shown in server.shown if host == "localhost"} == {""}


@pytest.mark.parametrize("reply", [None, Reply(404), Reply(400)], ids=["202", "404", "400"])
def test_what_is_offline_at_copernicus_cannot_be_ordered_and_says_so(tmp_path: Path, reply: Reply | None) -> None:
    with Copernicus(tmp_path / "store", products=[OFFLINE], megabytes=1, moved=False) as server:
        if reply:
            server.script[OFFLINE["properties"]["uid"]].extend([reply] * 9)
        hosts = f"oidc_config_url: '{server.url}/about', hosts: ['127.0.0.1:{server.port}']"
        write(home := tmp_path / "home", f"cop_dataspace: {{auth: {{{hosts}}}}}")
        done = bring(home, of("cop_dataspace", server), **BY_VARIABLES)
        assert done.returncode == 1
        assert "is OFFLINE, and cop_dataspace takes no orders from eofs; restore it on the web site of" in done.stderr


def test_what_has_come_to_disk_at_copernicus_since_the_search_is_served(tmp_path: Path) -> None:
    with Copernicus(tmp_path / "store", products=[OFFLINE], megabytes=1, moved=False) as server:
        result = of("cop_dataspace", server)
        server.set_online(OFFLINE["properties"]["uid"])
        hosts = f"oidc_config_url: '{server.url}/about', hosts: ['127.0.0.1:{server.port}']"
        write(home := tmp_path / "home", f"cop_dataspace: {{auth: {{{hosts}}}}}")
        done = bring(home, result, **BY_VARIABLES)
        assert done.returncode == 0, done.stderr
        assert is_there(home, server, OFFLINE)


def test_a_product_of_geodes_on_tape_is_ordered_and_comes_with_the_key(tmp_path: Path) -> None:
    with Geodes(tmp_path / "store", products=[OFFLINE], megabytes=1, staging_seconds=0.1) as server:
        write(home := tmp_path / "home", f"geodes: {{auth: {{hosts: ['127.0.0.1:{server.port}']}}}}")
        done = bring(home, of("geodes", server), EODAG__GEODES__AUTH__CREDENTIALS__APIKEY=KEY)
        assert done.returncode == 0, done.stderr
        assert is_there(home, server, OFFLINE)
        assert server.count(OFFLINE["properties"]["uid"], "download", 202)


def test_without_the_key_it_is_said_which_variable_wants_it(tmp_path: Path) -> None:
    with Geodes(tmp_path / "store", products=[OFFLINE], megabytes=1) as server:
        write(home := tmp_path / "home", f"geodes: {{auth: {{hosts: ['127.0.0.1:{server.port}']}}}}")
        done = bring(home, of("geodes", server))
        assert done.returncode == 1
        assert "no apikey for geodes; set EODAG__GEODES__AUTH__CREDENTIALS__APIKEY, or write it to" in done.stderr
        assert server.requests == []


def test_items_of_the_planetary_computer_are_known_by_their_host_and_signed(tmp_path: Path) -> None:
    with TokenServer(tmp_path / "store", products=[ONLINE], megabytes=1) as server:
        write(
            home := tmp_path / "home",
            f"planetary_computer: {{known_by: [127.0.0.1], auth: {{hosts: ['127.0.0.1:{server.port}'],"
            f" auth_uri: '{server.url}/sign?href={{url}}', credentials: {{apikey: {KEY}}}}}}}",
        )
        link = server.result()["features"][0]["properties"]["downloadLink"]
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": "scene", "geometry": None, "properties": {},
            "assets": {name: {"href": f"{link}?issuerId=me&{name}&se=2021-01-01&sig=old"} for name in ("B02", "B03")},
        }  # fmt: skip
        done = bring(home, {"type": "FeatureCollection", "features": [item]})
        assert done.returncode == 0, done.stderr
        archive = server.archive(ONLINE["properties"]["uid"]).read_bytes()
        brought = [path for path in (home / "out/scene").rglob("*") if path.is_file()]
        assert [path.read_bytes() == archive for path in brought] == [True, True]
        assert {path for path, _, _ in server.asked} == {"/sign"}
        assert server.asked[0][2].headers["ocp-apim-subscription-key"] == KEY


def test_a_provider_that_results_know_by_several_hosts_has_one_token(tmp_path: Path) -> None:
    two = [found for found in FOUND if found["properties"]["storageStatus"] == "ONLINE"][:2]
    with TokenServer(tmp_path / "store", products=two, megabytes=1) as server:
        write(
            home := tmp_path / "home",
            f"cop_dataspace: {{known_by: [127.0.0.1, localhost], download: {{files: none}}, auth: {{token_uri:"
            f" '{server.url}/token', hosts: ['127.0.0.1:{server.port}', 'localhost:{server.port}']}}}}",
        )
        result = of("cop_dataspace", server)
        for feature, host in zip(result["features"], ("127.0.0.1", "localhost"), strict=True):
            del feature["properties"]["eodag_provider"]
            said = feature["properties"]
            said["downloadLink"] = said["downloadLink"].replace("127.0.0.1", host)
        done = bring(home, result, **BY_VARIABLES)
        assert done.returncode == 0, done.stderr
        assert [is_there(home, server, found) for found in two] == [True, True]
        assert server.count_of("password") == len(server.asked) == 1


def test_a_service_that_has_closed_says_so_where_it_fails(tmp_path: Path) -> None:
    with DemoProvider(tmp_path / "store", products=[ONLINE], megabytes=1) as server:
        server.script[ONLINE["properties"]["uid"]].extend([Reply(404)] * 9)
        write(home := tmp_path / "home", f"peps: {{auth: {{hosts: ['127.0.0.1:{server.port}']}}}}")
        named = {f"EODAG__PEPS__AUTH__CREDENTIALS__{name}": "demo" for name in ("USERNAME", "PASSWORD")}
        done = bring(home, of("peps", server), **named)
    assert done.returncode == 1
    assert "PEPS has closed, its products are at GEODES" in done.stderr
    assert "peps no longer has the product (404 Not Found)" in done.stderr


def test_a_mirror_of_a_service_that_has_closed_serves_its_products(tmp_path: Path) -> None:
    with DemoProvider(tmp_path / "store", products=[OFFLINE], megabytes=1, staging_seconds=0.1) as server:
        write(home := tmp_path / "home", f"onda: {{auth: {{hosts: ['127.0.0.1:{server.port}']}}}}")
        named = {f"EODAG__ONDA__AUTH__CREDENTIALS__{name}": "demo" for name in ("USERNAME", "PASSWORD")}
        done = bring(home, of("onda", server), **named)
        assert (done.returncode, "closed" in done.stderr) == (0, False)
        assert is_there(home, server, OFFLINE)
