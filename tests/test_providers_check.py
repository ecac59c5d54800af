"""``eofs providers --check``: whether credentials work, asked of providers that play the real ones on this machine."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from confidential import APIKEY, PASSWORD
from conftest import eofs
from s3_server import KEYS, SECRET, Bucket, StrictStore
from token_server import JSON, NAME, SECRETS, TokenServer

from eofs import auth, providers
from eofs.demo import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from eofs.demo.replies import Request

LOGIN = f"credentials: {{username: {NAME}, password: '{PASSWORD}'}}"
CONNECT = "check_url: 'URL/resto/api/users/connect'"


class Provider(TokenServer):
    """A provider that answers at a check, in a way for each path."""

    def answer(self, request: Request) -> Reply | None:
        """Answer at the check."""
        shown = {request.headers.get("x-api-key"), request.query.get("apikey")}
        answers = {
            "/key": Reply(200 if APIKEY in shown else 401, JSON, b"{}"),
            "/page": Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in</html>"),
            "/later": Reply(202),
            "/elsewhere": Reply(302, {"Location": f"http://localhost:{self.port}/key"}),
            "/down": Reply(503),
            "/silent": Reply(200, JSON, b"{}", stall_after=-1),
        }
        return answers.get(request.path) or super().answer(request)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path / "store", products=[], username=NAME, password=PASSWORD) as running:
        yield running


def check(home: Path, server: Provider, settings: str, *words: str, **env: str) -> CompletedProcess[str]:
    """Check the credentials of a user with these settings, in which ``URL`` and ``HOST`` stand for the server's."""
    file = home / ".config/eofs/eofs.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings.replace("URL", server.url).replace("HOST", f"127.0.0.1:{server.port}"), encoding="utf-8")
    file.chmod(0o600)
    done = eofs("providers", "--check", *words, home=home, env=env)
    assert not [secret for secret in (*SECRETS, APIKEY) if secret in done.stdout + done.stderr]
    assert "Traceback" not in done.stderr
    return done


BASIC = f"type: basic, {LOGIN}"
HEADER = "type: header, headers: {X-API-Key: '{apikey}'}, check_url: URL/key"
SIGNED = (
    f"type: signed, headers: {{k: '{{apikey}}'}}, auth_uri: 'URL/sign?href={{url}}', credentials: {{apikey: {APIKEY}}}"
)
MINE, WRONG = f"credentials: {{apikey: {APIKEY}}}", "credentials: {apikey: x}"
WRONG_LOGIN = "credentials: {username: bob, password: x}"


@pytest.mark.says(
    "`auth: {check_url: …}` is an address that answers only to who is logged in; `eofs providers "
    "--check` asks there, where no log-in tells.",
    "whether these work: `works`, `refused`, `missing` (they cannot be had), `cannot be reached`, `cannot tell`; "
    "`--json`.",
    "Exit status 1 if some are refused or missing",
)
@pytest.mark.parametrize(
    ("says", "verdict", "why"),
    [
        (f"{BASIC}, {CONNECT}", "works", ""),
        (f"type: basic, {WRONG_LOGIN}, {CONNECT}", "refused", "mine refused the credentials (401 Unauthorized)"),
        (f"{HEADER}, {MINE}", "works", ""),
        (f"{HEADER}, {WRONG}", "refused", "mine refused the credentials (401 Unauthorized)"),
        (f"type: query, {MINE}, check_url: URL/key", "works", ""),
        (f"type: HttpQueryStringAuth, {MINE}, auth_uri: URL/key", "works", ""),
        (f"type: HttpQueryStringAuth, {WRONG}, auth_uri: URL/key", "refused", "mine refused"),
        (f"type: oidc_password, {LOGIN}, token_uri: URL/token", "works", ""),
        (f"type: oidc_password, {LOGIN}, oidc_config_url: URL/about", "works", ""),
        (
            f"type: oidc_password, {WRONG_LOGIN}, token_uri: URL/token",
            "refused",
            "mine refused the credentials at the log",
        ),
        (f"type: client_credentials, {LOGIN}, token_uri: URL/token", "works", ""),
        (f"type: token, {LOGIN}, auth_uri: URL/text", "works", ""),
        (f"{SIGNED}, check_url: URL/any", "works", ""),
        (SIGNED, "cannot tell", "mine has no address at which they could be tried"),
        (BASIC, "cannot tell", "mine has no address at which they could be tried"),
        (f"{BASIC}, check_url: URL/nothing", "cannot tell", "there is nothing at mine.auth.check_url"),
        (f"{BASIC}, check_url: URL/later", "cannot tell", "mine answers 202 Accepted at mine.auth.check_url"),
        (f"{BASIC}, check_url: URL/down", "cannot tell", "mine answers 503 Service Unavailable"),
        (f"{BASIC}, check_url: URL/page", "refused", "mine answers with a web page, as to who is not logged in"),
        (f"{BASIC}, check_url: URL/elsewhere", "refused", "localhost refused (401 Unauthorized); the credentials of"),
        (f"{BASIC}, check_url: 'https://other.example/x'", "cannot tell", "mine.auth.check_url is not on one of its h"),
        (f"{BASIC}, check_url: URL/silent", "cannot be reached", "127.0.0.1 (mine) sent nothing for 5 s"),
        (f"type: oidc_password, {LOGIN}, token_uri: URL/down", "cannot tell", "mine answers 503 Service Unavailable"),
        (f"type: SamlAuth, {LOGIN}", "cannot tell", "mine has no address at which they could be tried"),
        ("type: basic, credentials: {username: bob}", "missing", "no password; set EODAG__MINE__AUTH__CREDENTIALS__"),
        ("type: basic, netrc: true", "missing", "no username and no password; add 'machine 127.0.0.1 login … password"),
        ("type: basic, credentials: {username: bob}, password_command: 'false'", "missing", "the password_command of"),
    ],
    ids=[
        *("basic", "basic, wrong", "header", "header, wrong", "query", "eodag's auth_uri", "eodag's auth_uri, wrong"),
        *("a token", "a described log-in", "a token, wrong", "client credentials", "a token's text", "signed"),
        *("signed, without an address", "without an address", "404", "202", "503", "a web page", "a redirect"),
        *("another host", "silence", "503 at the log-in", "unknown", "a part", "no entry", "no answer"),
    ],
)
def test_what_comes_of_a_check(tmp_path: Path, server: Provider, says: str, verdict: str, why: str) -> None:
    done = check(tmp_path, server, f"mine: {{hosts: [HOST], auth: {{{says}}}}}\n", "--json", "mine")
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["check"], (row["why"] or "")[: len(why)]) == ("mine", verdict, why)
    assert (not why) is (verdict == "works")
    assert done.returncode == (verdict in {"refused", "missing"})


@pytest.mark.says("asks the named providers, else all whose credentials are there")
def test_all_that_have_credentials_are_checked_and_told_in_a_table(tmp_path: Path, server: Provider) -> None:
    settings = (
        f"peps: {{auth: {{hosts: [HOST], {LOGIN}, {CONNECT}}}}}\n"
        f"cop_dataspace: {{auth: {{{LOGIN}, token_uri: URL/token}}}}\n"
        f"geodes: {{auth: {{credentials: {{apikey: {APIKEY}}}}}}}\n"
    )
    done = check(tmp_path, server, settings)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        "NAME CHECK FROM WHY",
        "cop_dataspace works ~/.config/eofs/eofs.yml",
        "geodes cannot tell ~/.config/eofs/eofs.yml geodes has no address at which they could be tried",
        "peps works ~/.config/eofs/eofs.yml",
    ]
    assert done.returncode == 0


def test_one_that_nobody_answers_for_cannot_be_reached(tmp_path: Path, server: Provider) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{unheard.getsockname()[1]}"
        says = f"hosts: ['{there}'], auth: {{type: basic, {LOGIN}, check_url: 'http://{there}/x'}}"
        done = check(tmp_path, server, f"mine: {{{says}}}\n")
    row = " ".join(done.stdout.splitlines()[1].split())
    assert row.startswith(
        "mine cannot be reached ~/.config/eofs/eofs.yml 127.0.0.1 (mine) cannot be reached: Connection"
    )
    assert done.returncode == 0


@pytest.mark.parametrize(("secret", "verdict"), [(SECRET, "works"), ("another", "refused")])
def test_keys_of_a_store_are_tried_by_a_list_of_one_object(
    tmp_path: Path, server: Provider, secret: str, verdict: str
) -> None:
    with StrictStore({"eodata": Bucket({"Sentinel-2/x": b""})}) as store:
        keys = f"credentials: {{aws_access_key_id: {KEYS['aws_access_key_id']}}}, password_command: 'echo {secret}'"
        here = f"check_url: '{store.url}/eodata?list-type=2&max-keys=1'}}, download: {{s3_endpoint: '{store.url}'}}"
        done = check(tmp_path, server, f"cop_dataspace_s3: {{auth: {{{keys}, {here}}}\n", "--json")
        assert [way for way, _, _ in store.conversation()] == ["open", "signed"]
    (row,) = json.loads(done.stdout)
    assert (row["check"], row["from"]) == (verdict, "~/.config/eofs/eofs.yml and password_command (echo)")
    assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("nobody",), 2, "eofs: no provider is called 'nobody'; eofs providers lists those that are known"),
        ((), 1, "eofs: there are no credentials to check; eofs providers says what each provider wants"),
    ],
)
def test_what_cannot_be_checked_is_said(
    tmp_path: Path, server: Provider, words: tuple[str, ...], status: int, sentence: str
) -> None:
    done = check(tmp_path, server, "", *words)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (status, "", sentence)


def test_one_that_takes_everybody_has_nothing_to_check(tmp_path: Path, server: Provider) -> None:
    done = check(tmp_path, server, "mine: {title: Mine, hosts: [HOST]}\n", "MINE")
    assert "there are none, and mine can do without" in done.stdout
    assert done.returncode == 0


BUILT_IN: dict[str, Any] = {
    name: providers.build(name, settings, source=None) for name, settings in providers.builtin().items()
}


@pytest.mark.parametrize("name", [name for name, provider in BUILT_IN.items() if "check_url" in provider.login])
def test_a_built_in_check_is_at_a_host_that_may_see_the_credentials(name: str) -> None:
    assert auth.may_receive(BUILT_IN[name], BUILT_IN[name].login["check_url"])
    assert auth.wanted(BUILT_IN[name]) or auth.optional(BUILT_IN[name])
