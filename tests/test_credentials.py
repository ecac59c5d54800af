"""Credentials that no configuration holds: of ~/.netrc, of a command, of the keyring, of another provider."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import subprocess
import sys
import termios
import threading
import zipfile
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import keyring
import keyring.backend
import pytest
from confidential import secret
from conftest import Mount, environment, eofs, error_of, ls

from eofs import auth, config, credentials, providers
from eofs.credentials import Once, Sought, in_hand, of_command
from eofs.demo import DemoProvider, ten_products
from eofs.errors import AccessRefused, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.config import Config

NAME, PASSWORD = "alice", secret("hunter2-of-alice")
FOUND = ten_products()[2]
ENTRY = f"machine {{}} login {NAME} password {PASSWORD}\n"


class Home:
    """A user's home directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def write(self, path: str, content: str, mode: int = 0o600) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        file.chmod(mode)
        return file

    def load(self, settings: str = "", /, **environ: str) -> Config:
        self.write(".config/eofs/eofs.yml", settings)
        return config.load({}, environ={"HOME": str(self.folder), **environ})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def shown_to(found: Config, name: str, url: str) -> str:
    """Return the user name and password that `url` sees of a provider."""
    sent = auth.headers(found.provider(name), url).get("Authorization", "")
    return b64decode(sent.removeprefix("Basic ")).decode()


# -- ~/.netrc ----------------------------------------------------------------------------------------------------------


@pytest.mark.says(
    "`PROVIDER: {auth: netrc}` that of `~/.netrc`",
    "Also `auth: {netrc: true, …}`",
    "Each of these works in variables as well: `EODAG__PEPS__AUTH=netrc`",
)
@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        ("peps: {auth: netrc}", {}),
        ("peps: {auth: {netrc: true}}", {}),
        ("peps: {auth: {type: basic, netrc: yes}}", {}),
        ("peps: {download_auth: netrc}", {}),
        ("", {"EODAG__PEPS__AUTH": "netrc"}),
        ("", {"EOFS__PEPS__AUTH": " Netrc "}),
        ("", {"EOFS__PEPS__AUTH__NETRC": "true"}),
        ("peps: {auth: {netrc: no}}", {"EOFS__PEPS__AUTH__NETRC": "true"}),
    ],
)
def test_netrc_is_asked_for_in_the_providers_auth(home: Home, settings: str, environ: dict[str, str]) -> None:
    home.write(".netrc", ENTRY.format("peps.cnes.fr"))
    found = home.load(settings, **environ)
    assert auth.missing(found.provider("peps")) == ()
    assert shown_to(found, "peps", "https://peps.cnes.fr/x") == f"{NAME}:{PASSWORD}"
    assert shown_to(found, "peps", "https://elsewhere.example/x") == ""
    assert found.provider("peps").credentials_from == "~/.netrc"


@pytest.mark.says("`~/.netrc` is read for who asks for it, and nobody else.")
@pytest.mark.parametrize("settings", ["", "peps: {auth: {netrc: false}}", "sara: {auth: netrc}"])
def test_netrc_is_not_read_for_who_does_not_ask_for_it(home: Home, settings: str) -> None:
    home.write(".netrc", ENTRY.format("peps.cnes.fr"))
    assert auth.missing(home.load(settings).provider("peps")) == ("username", "password")


@pytest.mark.says("of the first host of the provider that has an entry there")
@pytest.mark.parametrize(
    ("name", "machine", "there"),
    [
        ("peps", "peps.cnes.fr", True),
        ("peps", "PEPS.cnes.fr", True),
        ("peps", "cnes.fr", False),
        ("peps", "evil-peps.cnes.fr", False),
        ("cop_dataspace", "identity.dataspace.copernicus.eu", True),
        ("cop_dataspace", "download.dataspace.copernicus.eu", True),
        ("cop_dataspace", "dataspace.copernicus.eu", True),
        ("cop_dataspace", "copernicus.eu", False),
        ("creodias", "identity.cloudferro.com", True),
        ("earthdata", "urs.earthdata.nasa.gov", True),
        ("geodes", "geodes-portal.cnes.fr", True),
        ("dedl", "auth.destine.eu", True),
        ("mine", "127.0.0.1", True),
        ("mine", "mirror.example", True),
    ],
)
def test_an_entry_is_of_a_host_of_the_provider_or_of_its_log_in(
    home: Home, name: str, machine: str, there: bool
) -> None:
    home.write(".netrc", ENTRY.format(machine))
    mine = "mine: {hosts: ['127.0.0.1:8080', 'mirror.example:*'], auth: {type: basic}}\n"
    provider = home.load(mine, **{f"EOFS__{name.upper()}__AUTH": "netrc"}).provider(name)
    assert (not auth.missing(provider)) is there


@pytest.mark.says("that of its log-in, then its other hosts.", "The user name is the entry's too.")
def test_the_log_ins_entry_goes_before_those_of_other_hosts(home: Home) -> None:
    home.write(
        ".netrc",
        "machine download.dataspace.copernicus.eu login other password p\n"
        + ENTRY.format("identity.dataspace.copernicus.eu"),
    )
    assert home.load("cop_dataspace: {auth: netrc}").provider("cop_dataspace").credentials["username"] == NAME


@pytest.mark.says("`default` is not meant.")
def test_the_default_entry_is_of_no_provider(home: Home) -> None:
    home.write(".netrc", f"default login {NAME} password {PASSWORD}\n")
    assert auth.missing(home.load("peps: {auth: netrc}").provider("peps")) == ("username", "password")


def test_a_key_is_the_password_of_its_entry(home: Home) -> None:
    home.write(".netrc", ENTRY.format("geodes-portal.cnes.fr"))
    geodes = home.load("geodes: {auth: netrc}").provider("geodes")
    assert auth.headers(geodes, "https://geodes-portal.cnes.fr/x") == {"X-API-Key": PASSWORD}
    assert dict(geodes.credentials) == {"apikey": PASSWORD}


@pytest.mark.says("that of `~/.netrc` (`$NETRC`)")
def test_another_file_is_named_by_the_variable(home: Home) -> None:
    file = home.write("secret/netrc", ENTRY.format("peps.cnes.fr"))
    peps = home.load("peps: {auth: netrc}", NETRC=str(file)).provider("peps")
    assert peps.credentials["password"] == PASSWORD
    assert peps.credentials_from == "~/secret/netrc"


@pytest.mark.parametrize(("user", "missing"), [(NAME, ()), ("bob", ("password",))])
def test_the_password_is_of_the_user_whom_the_configuration_names(
    home: Home, user: str, missing: tuple[str, ...]
) -> None:
    home.write(".netrc", ENTRY.format("peps.cnes.fr"))
    peps = home.load(f"peps: {{auth: {{netrc: true, credentials: {{username: {user}}}}}}}").provider("peps")
    assert auth.missing(peps) == missing
    assert peps.credentials_from == "~/.config/eofs/eofs.yml and ~/.netrc"


@pytest.mark.says("What is written in a configuration goes first.")
def test_what_is_written_goes_before_what_is_looked_for(home: Home) -> None:
    home.write(".netrc", ENTRY.format("peps.cnes.fr"))
    written = "credentials: {username: bob, password: own}, password_command: 'false'"
    peps = home.load(f"peps: {{auth: {{netrc: true, {written}}}}}").provider("peps")
    assert dict(peps.credentials) == {"username": "bob", "password": "own"}
    assert {"bob", "own"} <= set(in_hand(peps))


@pytest.mark.says("A file that others can read is not taken.")
@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (ENTRY.format("peps.cnes.fr"), 0o644, "~/.netrc can be read by others, so it is not taken; to mend it: chmod"),
        (ENTRY.format("peps.cnes.fr"), 0o640, "~/.netrc can be read by others"),
        (f"machine peps.cnes.fr\npasswort {PASSWORD}\n", 0o600, "~/.netrc is not as netrc(5) says (line "),
        (f"{PASSWORD}\n", 0o600, "~/.netrc is not as netrc(5) says (line "),
    ],
    ids=["for all", "for the group", "a word too many", "no netrc"],
)
def test_a_netrc_that_cannot_be_taken_is_one_sentence_for_who_wants_it(
    home: Home, content: str, mode: int, sentence: str
) -> None:
    home.write(".netrc", content, mode)
    found = home.load(f"peps: {{auth: netrc}}\nsara: {{auth: {{credentials: {{username: {NAME}, password: p}}}}}}\n")
    with pytest.raises(AccessRefused) as refused:
        auth.headers(found.provider("peps"), "https://peps.cnes.fr/x")
    assert str(refused.value).startswith(sentence)
    assert not [part for part in (NAME, PASSWORD) if part in str(refused.value)]
    assert shown_to(found, "sara", "https://copernicus.nci.org.au/x") == f"{NAME}:p"


def test_a_netrc_that_is_a_directory_cannot_be_read(home: Home) -> None:
    (home.folder / ".netrc").mkdir(mode=0o700)
    with pytest.raises(AccessRefused, match=r"~/\.netrc cannot be read: Is a directory"):
        auth.missing(home.load("peps: {auth: netrc}").provider("peps"))


def test_an_entry_that_is_added_later_is_found(home: Home) -> None:
    found = home.load("peps: {auth: netrc}")
    assert auth.missing(found.provider("peps")) == ("username", "password")
    assert auth.how_to_supply(found.provider("peps")) == "add 'machine peps.cnes.fr login … password …' to ~/.netrc"
    home.write(".netrc", ENTRY.format("peps.cnes.fr"))
    assert shown_to(found, "peps", "https://peps.cnes.fr/x") == f"{NAME}:{PASSWORD}"


# -- a command ---------------------------------------------------------------------------------------------------------


def a_command(folder: Path, script: str) -> str:
    """Return a command that notes each of its runs in a file beside it, and then runs a script of Python."""
    program = folder / "password-of"
    noted = f"import sys, time\nopen({str(folder / 'runs')!r}, 'a').write('x')\n"
    program.write_text(f"#!{sys.executable}\n{noted}{script}\n", encoding="utf-8")
    program.chmod(0o700)
    return f"{shlex.quote(str(program))} peps"


def runs_of(folder: Path) -> int:
    return len((folder / "runs").read_bytes()) if (folder / "runs").exists() else 0


@pytest.mark.says(
    "`auth: {password_command: pass show cdse}` the first line that the command prints.",
    "Each of these works in variables as well: `EODAG__PEPS__AUTH=netrc`, `EOFS__GEODES__AUTH__PASSWORD_COMMAND`.",
)
@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ("auth: {{credentials: {{username: alice}}, password_command: {}}}", None),
        ("auth: {{credentials: {{username: alice, password_command: {}}}}}", None),
        ("auth: {{credentials: {{username: alice}}}}", "EODAG__PEPS__AUTH__PASSWORD_COMMAND"),
        ("auth: {{credentials: {{username: alice}}}}", "EOFS__PEPS__AUTH__CREDENTIALS__PASSWORD_COMMAND"),
    ],
)
def test_a_command_prints_the_password(home: Home, settings: str, variable: str | None) -> None:
    command = a_command(home.folder, f"print({PASSWORD!r}, 'second line', sep='\\n')")
    environ = {variable: command} if variable else {}
    found = home.load(f"peps: {{{settings.format(command)}}}", **environ)
    assert runs_of(home.folder) == 0
    assert shown_to(found, "peps", "https://peps.cnes.fr/x") == f"{NAME}:{PASSWORD}"
    said = found.provider("peps").credentials_from or ""
    assert said.endswith(" and password_command (password-of)")


@pytest.mark.says("It runs without a shell")
def test_a_command_is_a_list_of_words_too_and_no_shell_sees_it(home: Home) -> None:
    found = home.load("geodes: {auth: {password_command: [printf, '%s', '$HOME; `id` > x']}}").provider("geodes")
    assert auth.headers(found, "https://geodes-portal.cnes.fr/x") == {"X-API-Key": "$HOME; `id` > x"}


def test_a_command_is_run_once_for_all_who_want_the_password(home: Home) -> None:
    command = a_command(home.folder, "time.sleep(0.2); print('key')")
    geodes = home.load(f"geodes: {{auth: {{password_command: {command}}}}}").provider("geodes")
    together = threading.Barrier(8)

    def ask() -> str:
        together.wait()
        return auth.headers(geodes, "https://geodes-portal.cnes.fr/x")["X-API-Key"]

    with ThreadPoolExecutor(8) as pool:
        assert [each.result() for each in [pool.submit(ask) for _ in range(8)]] == ["key"] * 8
    assert runs_of(home.folder) == 1


@pytest.mark.says("Nothing is looked for on behalf of a provider that nobody asks for anything.")
def test_who_only_looks_runs_no_command(home: Home) -> None:
    command = a_command(home.folder, "print('key')")
    geodes = home.load(f"geodes: {{auth: {{password_command: {command}}}}}").provider("geodes")
    assert auth.missing(geodes) == ()
    assert ([*geodes.credentials], len(geodes.credentials)) == (["apikey"], 1)
    assert "key" not in repr(geodes.credentials)
    assert auth.headers(geodes, "https://elsewhere.example/x") == {}
    assert in_hand(geodes) == []
    assert runs_of(home.folder) == 0
    assert auth.headers(geodes, "https://geodes-portal.cnes.fr/x") == {"X-API-Key": "key"}
    assert in_hand(geodes) == ["key"]


@pytest.mark.says("with nothing to read")
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("sys.exit(f'{0}')", "the password_command of peps (password-of) failed (status 1); try it in a shell"),
        ("print('{0}'); sys.exit(2)", "the password_command of peps (password-of) failed (status 2); try it in a"),
        ("print(); print('{0}')", "the password_command of peps (password-of) printed no password; try it in a shell"),
        ("print('{0}', flush=True); time.sleep(60)", "the password_command of peps (password-of) gave no answer with"),
        ("print('{0}' if sys.stdin.read() == '' else '')", None),
    ],
    ids=["complains", "fails", "prints nothing", "hangs", "reads"],
)
def test_a_command_that_does_not_answer_is_named_and_its_output_is_not(
    home: Home, script: str, sentence: str | None
) -> None:
    command = a_command(home.folder, script.format(PASSWORD))
    patience = 1.0 if "sleep" in script else 60.0
    if sentence is None:
        assert of_command("peps", shlex.split(command), patience=patience) == PASSWORD
        return
    with pytest.raises(AccessRefused) as refused:
        of_command("peps", shlex.split(command), patience=patience)
    assert str(refused.value).startswith(sentence)
    assert PASSWORD not in str(refused.value)


def test_a_command_that_is_not_there_is_named(home: Home) -> None:
    with pytest.raises(AccessRefused, match=r"\(no-such-program\) cannot be run: No such file or directory"):
        of_command("peps", ["/nowhere/no-such-program", "peps"])


@pytest.mark.says("and 60 seconds", "a command that failed is not run again for a minute.")
def test_a_command_has_a_minute_and_is_not_run_again_for_a_minute_when_it_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, run = [], subprocess.run

    def noted(*words: Any, **how: Any) -> Any:
        given.append(how["timeout"])
        return run(*words, **how)

    monkeypatch.setattr(subprocess, "run", noted)
    geodes = home.load("geodes: {auth: {password_command: 'false'}}").provider("geodes")
    for _ in range(3):
        with pytest.raises(AccessRefused, match="failed"):
            auth.headers(geodes, "https://geodes-portal.cnes.fr/x")
    assert given == [60]
    assert credentials.PAUSE == 60


@pytest.mark.parametrize("written", ['"pass \'show"', "[]", "''", '"a\\0b"', "{a: b}", "[[a]]"])
def test_a_command_that_cannot_be_meant_is_refused_at_the_start(home: Home, written: str) -> None:
    if written == "''":
        assert auth.missing(home.load(f"peps: {{auth: {{password_command: {written}}}}}").provider("peps"))
        return
    with pytest.raises(ConfigError, match=r"eofs.yml: peps.auth.password_command: expected a (command|single text)"):
        home.load(f"peps: {{auth: {{password_command: {written}}}}}")


def test_what_has_failed_is_asked_again_after_a_while_and_what_is_there_never() -> None:
    answers: list[str | None] = [None, "key", "another"]
    now = 0.0

    def ask() -> str:
        if (answer := answers.pop(0)) is None:
            raise AccessRefused("locked")
        return answer

    once = Once(ask, pause=60, now=lambda: now)
    for now in (0.0, 59.0):  # noqa: B007 - it is the clock
        with pytest.raises(AccessRefused, match="locked"):
            once()
    assert len(answers) == 2
    now = 61.0
    assert (once(), once()) == ("key", "key")


# -- the keyring -------------------------------------------------------------------------------------------------------


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring that is gone with the test."""

    priority = 1

    def __init__(self, held: dict[tuple[str, str], str], fault: Exception | None = None) -> None:
        self.held = held
        self.fault = fault

    def get_password(self, service: str, username: str) -> str | None:
        if self.fault:
            raise self.fault
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


@pytest.fixture
def held() -> Iterator[dict[tuple[str, str], str]]:
    """What the system's keyring holds while the test runs."""
    before = keyring.get_keyring()
    held: dict[tuple[str, str], str] = {}
    keyring.set_keyring(MemoryKeyring(held))
    yield held
    keyring.set_keyring(before)


@pytest.mark.says(
    "`PROVIDER: {auth: keyring}` what the system's keyring holds for the service `eofs:PROVIDER` and "
    "the user of `credentials`",
    "or for a key that belongs to no user its name",
    "`auth: {keyring: SERVICE}` names another service.",
    "Each of these works in variables",
)
@pytest.mark.parametrize(
    ("name", "settings", "environ", "entry"),
    [
        ("peps", "auth: {credentials: {username: alice}, keyring: true}", {}, ("eofs:peps", NAME)),
        ("peps", "auth: {credentials: {username: alice}, keyring: my-logins}", {}, ("my-logins", NAME)),
        ("geodes", "auth: keyring", {}, ("eofs:geodes", "apikey")),
        ("geodes", "auth: {keyring: yes}", {}, ("eofs:geodes", "apikey")),
        ("geodes", "", {"EOFS__GEODES__AUTH": "keyring"}, ("eofs:geodes", "apikey")),
        ("geodes", "", {"EODAG__GEODES__AUTH__KEYRING": "my-logins"}, ("my-logins", "apikey")),
    ],
)
def test_the_keyring_holds_the_password(
    home: Home,
    held: dict[tuple[str, str], str],
    name: str,
    settings: str,
    environ: dict[str, str],
    entry: tuple[str, str],
) -> None:
    held[entry] = PASSWORD
    provider = home.load(f"{name}: {{{settings}}}", **environ).provider(name)
    assert auth.missing(provider) == ()
    assert PASSWORD in provider.credentials.values()
    assert (provider.credentials_from or "").endswith("the keyring")


@pytest.mark.says("its name: `keyring set eofs:geodes apikey`.")
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("geodes: {auth: keyring}", "the keyring has no apikey for geodes; add it: keyring set eofs:geodes apikey"),
        (
            "geodes: {auth: {credentials: {username: alice}, keyring: true, type: basic}}",
            "the keyring has no password for geodes; add it: keyring set eofs:geodes USERNAME",
        ),
    ],
)
def test_what_the_keyring_does_not_have_is_said_with_what_to_do(
    home: Home, held: dict[tuple[str, str], str], settings: str, sentence: str
) -> None:
    with pytest.raises(AccessRefused) as refused:
        dict(home.load(settings).provider("geodes").credentials)
    assert str(refused.value) == sentence


def test_a_keyring_that_fails_is_said_without_its_words(home: Home, held: dict[tuple[str, str], str]) -> None:
    keyring.set_keyring(MemoryKeyring({}, fault=RuntimeError(PASSWORD)))
    with pytest.raises(AccessRefused, match=r"cannot be asked for the apikey of geodes \(RuntimeError\)") as refused:
        dict(home.load("geodes: {auth: keyring}").provider("geodes").credentials)
    assert PASSWORD not in str(refused.value)


@pytest.mark.says("It takes `pip install 'eofs-fuse[keyring]'`")
def test_without_the_package_it_is_said_how_to_get_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(AccessRefused, match=r"pip install 'eofs-fuse\[keyring\]'"):
        dict(home.load("geodes: {auth: keyring}").provider("geodes").credentials)


# -- those of another provider -----------------------------------------------------------------------------------------

AWS = "{credentials: {aws_access_key_id: key-of-alice, aws_secret_access_key: s}}"
TOKEN = "type: token, auth_uri: 'https://broker.example/gettoken'"
OIDC = "type: oidc_password, token_uri: 'https://id.example/token'"
URL = "type: basic, matching_url: 'https://x'"
CONF, FNOC = "type: basic, matching_conf: {x: 1, y: 2}", "type: basic, matching_conf: {y: 2, x: 1}"
OF_AWS = {name for name, says in providers.builtin().items() if says.get("auth", {}).get("matching_url") == "s3://"}
LOGIN = "credentials: {username: alice, password: p}"


@pytest.mark.says(
    "A provider that has no credentials takes those of another of the same kind of log-in, where "
    "that is at the same place (WEkEO's three, Destination Earth's four), or where both say the same "
    "`matching_url` and `matching_conf`, as in eodag (what Amazon's S3 serves)."
)
@pytest.mark.parametrize(
    ("settings", "lender", "takers"),
    [
        (f"aws_eos: {{download_auth: {AWS}}}", "aws_eos", OF_AWS),
        (f"earth_search: {{auth: {AWS}}}", "earth_search", OF_AWS),
        (f"creodias_s3: {{auth: {AWS}}}", "creodias_s3", {"creodias_s3"}),
        (f"cop_dataspace: {{auth: {{{LOGIN}}}}}", "cop_dataspace", {"cop_dataspace"}),
        ("cop_cds: {auth: {credentials: {apikey: k}}}", "cop_cds", {"cop_cds"}),
        (f"a: {{auth: {{{TOKEN}, {LOGIN}}}}}\nb: {{auth: {{{TOKEN}}}}}", "a", {"a", "b"}),
        (f"a: {{auth: {{{TOKEN}}}}}\nb: {{auth: {{{TOKEN}, {LOGIN}}}}}", "b", {"a", "b"}),
        (f"a: {{auth: {{{TOKEN}, {LOGIN}}}}}\nb: {{auth: {{{TOKEN}s}}}}".replace("n's", "ns'"), "a", {"a"}),
        (f"a: {{auth: {{{TOKEN}, {LOGIN}}}}}\nb: {{auth: {{{TOKEN}, credentials: {{username: b}}}}}}", "a", {"a"}),
        (f"a: {{auth: {{{OIDC}, credentials: {{username: b}}}}}}\nb: {{auth: {{{OIDC}}}}}", "a", {"a"}),
        (f"a: {{auth: {{type: basic, {LOGIN}}}}}\nb: {{auth: {{type: basic}}}}", "a", {"a"}),
        (f"a: {{auth: {{{URL}, {LOGIN}}}}}\nb: {{auth: {{{URL}}}}}", "a", {"a", "b"}),
        (f"a: {{auth: {{{CONF}, {LOGIN}}}}}\nb: {{auth: {{{FNOC}}}}}\nc: {{auth: {{type: basic}}}}", "a", {"a", "b"}),
        (f"a: {{auth: {{{URL}, {LOGIN}}}}}\nb: {{auth: {{{URL.replace('basic', 'query')}}}}}", "a", {"a"}),
        (f"dedl: {{auth: {{{LOGIN}}}}}", "dedl", {"dedl", "dedt_lumi", "dedt_mn5", "dedt_leonardo"}),
        (f"wekeo_main: {{auth: {{{LOGIN}}}}}", "wekeo_main", {"wekeo_main", "wekeo_cmems", "wekeo_ecmwf"}),
    ],
    ids=[
        *("aws, in one place", "aws, in another", "another store", "alone", "keys of their own", "one token service"),
        *("in the other order", "another token service", "own user", "half a log-in", "no common place"),
        *("eodag's matching_url", "eodag's matching_conf", "another kind", "destine", "wekeo"),
    ],
)
def test_one_account_is_good_at_all_that_share_its_log_in(
    home: Home, settings: str, lender: str, takers: set[str]
) -> None:
    assert {"aws_eos", "earth_search", "usgs_satapi_aws"} <= OF_AWS
    found = home.load(settings)
    given = dict(found.provider(lender).credentials)
    assert {each.name for each in found.providers.values() if dict(each.credentials) == given} == takers
    for name in takers - {lender}:
        assert found.provider(name).credentials_from == f"~/.config/eofs/eofs.yml, of {lender}"


def test_what_is_looked_for_is_shared_and_looked_for_once(home: Home) -> None:
    command = a_command(home.folder, "print('p')")
    says = f"a: {{auth: {{{TOKEN}, credentials: {{username: alice}}, password_command: {command}}}}}\n"
    found = home.load(f"{says}b: {{auth: {{{TOKEN}}}}}\n")
    assert isinstance(found.provider("b").credentials, Sought)
    assert runs_of(home.folder) == 0
    assert [found.provider(name).credentials["password"] for name in "ab"] == ["p", "p"]
    assert runs_of(home.folder) == 1


# -- as a user meets them ----------------------------------------------------------------------------------------------


def result_of(home: Home, server: DemoProvider, says: str) -> Path:
    """Save what the server has as a result of a provider of the user's, whose `auth` says how to log in."""
    result = server.result()
    for feature in result["features"]:
        feature["properties"]["eodag_provider"] = "mine"
    hosts = f"hosts: ['127.0.0.1:{server.port}'], download: {{dl_url_params: {{issuerId: me}}}}"
    home.write(".config/eofs/eofs.yml", f"mine: {{{hosts}, auth: {says}}}\n")
    return home.write("result.geojson", json.dumps(result))


def bring(home: Home, server: DemoProvider, says: str, **how: Any) -> tuple[int, str]:
    """Fetch what the server has; return the exit status, and all that was said."""
    file, log = result_of(home, server, says), home.write("eofs.log", "")
    words = ("fetch", file, "--output", home.folder / "out", "--log-file", log, "-vv")
    done = eofs(*words, home=home.folder, **how)
    return done.returncode, done.stdout + done.stderr + log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "auth_of_mine",
    ["{type: basic, netrc: true}", "{type: basic, credentials: {username: alice}, password_command: COMMAND}"],
    ids=["netrc", "command"],
)
def test_a_product_comes_with_credentials_that_no_configuration_holds(home: Home, auth_of_mine: str) -> None:
    home.write(".netrc", ENTRY.format("127.0.0.1"))
    command = a_command(home.folder, f"print({PASSWORD!r})")
    where = home.folder / "store"
    with DemoProvider(where, products=[FOUND], megabytes=1, username=NAME, password=PASSWORD) as server:
        status, said = bring(home, server, auth_of_mine.replace("COMMAND", command))
        assert status == 0, said
        with zipfile.ZipFile(server.archive(FOUND["properties"]["uid"])) as zipped:
            files = [info for info in zipped.infolist() if not info.is_dir()]
            out = home.folder / "out" / FOUND["properties"]["title"]
            assert all((out / info.filename).read_bytes() == zipped.read(info) for info in files)
    assert PASSWORD not in said
    assert runs_of(home.folder) == ("COMMAND" in auth_of_mine)


def test_a_command_that_wants_to_ask_where_there_is_no_terminal_is_told_of(home: Home) -> None:
    command = a_command(home.folder, "open('/dev/tty').readline()")
    with DemoProvider(home.folder / "store", products=[FOUND], megabytes=1) as server:
        says = f"{{type: basic, credentials: {{username: alice}}, password_command: {command}}}"
        status, said = bring(home, server, says, start_new_session=True)
    assert status == 1
    assert "here it has no terminal to ask at, so unlock what it reads first, or mount with -f" in said


@pytest.mark.says("when the password is wanted for the first time, once for each mount")
@pytest.mark.mount
def test_a_mount_asks_a_command_for_the_password_when_something_is_read(home: Home) -> None:
    command = a_command(home.folder, f"print({PASSWORD!r})")
    where, uid = home.folder / "store", FOUND["properties"]["uid"]
    with DemoProvider(where, products=[FOUND], megabytes=1, username=NAME, password=PASSWORD) as server:
        says = f"{{type: basic, credentials: {{username: alice}}, password_command: {command}}}"
        with Mount(home.folder, result_of(home, server, says)) as mounted:
            assert ls(mounted.product(uid)) == ["data", "metadata.json", "quicklook.jpg", "status"]
            assert runs_of(home.folder) == 0
            mounted.bring(uid)
            assert runs_of(home.folder) == 1
            assert not [line for line in mounted.logged() if PASSWORD in line]


@pytest.mark.says("A mount has no terminal that it could ask at")
@pytest.mark.mount
def test_a_mount_that_was_made_at_a_terminal_has_none_that_a_command_could_ask_at(home: Home) -> None:
    command = a_command(home.folder, "print(open('/dev/tty').readline() and 'x')")
    ours, its = pty.openpty()
    with DemoProvider(home.folder / "store", products=[FOUND], megabytes=1) as server:
        says = f"{{type: basic, credentials: {{username: alice}}, password_command: {command}}}"
        mount, uid = Mount(home.folder, result_of(home, server, says)), FOUND["properties"]["uid"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "eofs", *mount.command], env=environment(home.folder), stdin=its, timeout=60,
                check=False, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )  # fmt: skip
            assert done.returncode == 0
            assert error_of(ls, mount.safe(uid)) == "EACCES"
            assert "here it has no terminal to ask at" in mount.status(uid)["error"]
        finally:
            mount.end()
            os.close(ours)
            os.close(its)


def test_listing_the_providers_reads_netrc_and_runs_nothing(home: Home) -> None:
    home.write(".netrc", ENTRY.format("peps.cnes.fr"))
    command = a_command(home.folder, "print('key')")
    home.write(
        ".config/eofs/eofs.yml",
        f"peps: {{auth: netrc}}\nsara: {{auth: netrc}}\ngeodes: {{auth: {{password_command: {command}}}}}\n",
    )
    done = eofs("providers", "peps", "SARA", "geodes", home=home.folder)
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert [row.split(" ", 1)[0] for row in rows] == ["NAME", "peps", "sara", "geodes"]
    assert rows[1].startswith("peps basic username, password yes ~/.netrc PEPS")
    assert rows[2].startswith("sara basic username, password no ~/.netrc Sentinel")
    assert rows[3].startswith("geodes header apikey yes password_command (password-of) GEODES")
    assert runs_of(home.folder) == 0
    (home.folder / ".netrc").chmod(0o644)
    done = eofs("providers", "peps", home=home.folder)
    assert (done.returncode, done.stderr) == (0, "")
    row = " ".join(done.stdout.splitlines()[1].split())
    assert row.startswith("peps basic username, password no ~/.netrc can be read by others, so it is not taken")
