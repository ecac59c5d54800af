"""Where settings come from: layers, their order, their grammar; the options; what is refused and how."""

from __future__ import annotations

import argparse
import errno
import logging
import shutil
import socket
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eofs import auth, config, options
from eofs.commands import arguments
from eofs.config import Config, Network
from eofs.errors import ConfigError
from eofs.layout import FLAT
from eofs.model import Provider
from eofs.options import BY_NAME, CRAWLERS, OPTIONS, Options, cache_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

USERNAME = "EODAG__PEPS__AUTH__CREDENTIALS__USERNAME"
PASSWORD = "EODAG__PEPS__AUTH__CREDENTIALS__PASSWORD"
EODAG = ".config/eodag/eodag.yml"
EOFS = ".config/eofs/eofs.yml"

EODAG_2 = """\
peps:
    priority: # Lower value means lower priority (Default: 1)
    search:  # Search parameters configuration
    download:
        extract:  # whether to extract the downloaded products (true or false, Default: true).
        outputs_prefix: # where to store downloaded products.
        dl_url_params:  # additional parameters to pass over to the download url as an url parameter
    auth:
        credentials:
            username:
            password:
theia:
    priority: # Lower value means lower priority (Default: 0)
    download:
        extract:
        outputs_prefix:
    auth:
        credentials:
            ident:
            pass:
usgs:
    api:
        extract:
        outputs_prefix:
        credentials:
            username:
            password:
aws_eos:
    auth:
        credentials:
            apikey:
            aws_access_key_id:
"""
EODAG_4 = """\
aws_eos:
    priority: # Lower value means lower priority (Default: 0)
    search_auth:
        credentials:
            api_key:
    download_auth:
        credentials:
            aws_access_key_id:
            aws_secret_access_key:
            aws_profile:
    download:
        output_dir:
cop_dataspace:
    priority:
    download:
        extract:
        output_dir:
    auth:
        credentials:
            username:
            password:
peps:
    priority:
    download:
        extract:
        output_dir:
        dl_url_params:
        delete_archive:
    auth:
        credentials:
            username: ''
            password: "  "
usgs:
    api:
        output_dir:
        product_location_scheme:
        credentials:
            username:
            password:
"""


class Home:
    """A home directory of its own, and the variables that go with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, content: str, mode: int = 0o600) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        file.chmod(mode)
        return file

    def load(self, command_line: Mapping[str, object] | None = None, /, **environ: str) -> Config:
        return config.load(command_line or {}, environ={"HOME": str(self.folder), **environ})

    def refusal(self, command_line: Mapping[str, object] | None = None, /, **environ: str) -> str:
        with pytest.raises(ConfigError) as wrong:
            self.load(command_line, **environ)
        return str(wrong.value)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_nothing_configured_is_the_built_in_files_and_the_defaults(home: Home) -> None:
    found = home.load()
    assert {"peps", "demo"} <= set(found.providers)
    assert found.options == Options(cache_dir=home.folder / ".cache/eofs")
    assert auth.missing(found.provider("peps")) == ("username", "password")
    assert found.network == Network()


def test_the_two_variables_of_the_guide_are_all_that_peps_needs(home: Home) -> None:
    peps = home.load(**{USERNAME: "alice", PASSWORD: "hunter2"}).provider("peps")
    assert peps.credentials == {"username": "alice", "password": "hunter2"}
    assert peps.credentials_from == f"{PASSWORD} and {USERNAME}"
    assert auth.headers(peps, "https://peps.cnes.fr/resto/collections/S2ST/1/download")


LAYERS: list[Callable[[Home, str, dict[str, str], dict[str, str | bool]], object]] = [
    lambda home, value, _, __: home.write(EODAG, f"peps: {{auth: {{credentials: {{username: {value}}}}}}}\n"),
    lambda home, value, _, __: home.write(EOFS, f"peps: {{auth: {{credentials: {{username: {value}}}}}}}\n"),
    lambda _, value, environ, __: environ.update({USERNAME: value}),
    lambda _, value, environ, __: environ.update({USERNAME.replace("EODAG", "EOFS"): value}),
]
OPTION_LAYERS: list[Callable[[Home, str, dict[str, str], dict[str, str | bool]], object]] = [
    lambda home, value, _, __: home.write(EODAG, f"eofs: {{cache_size: {value}}}\n"),
    lambda home, value, _, __: home.write(EOFS, f"eofs: {{cache_size: {value}}}\n"),
    lambda _, value, environ, __: environ.update({"EODAG__EOFS__CACHE_SIZE": value}),
    lambda _, value, environ, __: environ.update({"EOFS__CACHE_SIZE": value}),
    lambda _, value, __, typed: typed.update({"cache_size": value}),
]


@pytest.mark.says(
    "`EODAG__…` variables; `EOFS__…` variables", "In `auth: {credentials: …}` of a file, in variables, or:"
)
@pytest.mark.parametrize("strongest", range(len(LAYERS)))
def test_a_credential_of_a_later_layer_wins(home: Home, strongest: int) -> None:
    environ: dict[str, str] = {}
    for number, write in enumerate(LAYERS[: strongest + 1]):
        write(home, f"user{number}", environ, {})
    assert home.load(**environ).provider("peps").credentials == {"username": f"user{strongest}"}


@pytest.mark.says("Weakest first: built-in provider files")
def test_what_a_built_in_file_says_gives_way_to_every_layer(home: Home) -> None:
    assert (built_in := home.load().provider("peps")).max_connections == 4
    home.write(EODAG, "peps: {download: {max_connections: 2}}")
    found = home.load().provider("peps")
    assert (found.max_connections, found.hosts, found.dl_url_params) == (2, built_in.hosts, built_in.dl_url_params)
    assert home.load(EODAG__PEPS__DOWNLOAD__MAX_CONNECTIONS="3").provider("peps").max_connections == 3


@pytest.mark.says(
    "eodag's user file (",
    "eofs' own (`~/.config/eofs/eofs.yml`, or `--config`); `EODAG__…` variables; `EOFS__…` "
    "variables; the command line.",
)
@pytest.mark.parametrize("strongest", range(len(OPTION_LAYERS)))
def test_an_option_of_a_later_layer_wins(home: Home, strongest: int) -> None:
    environ: dict[str, str] = {}
    typed: dict[str, str | bool] = {}
    for number, write in enumerate(OPTION_LAYERS[: strongest + 1]):
        write(home, f"{number + 1}G", environ, typed)
    found = home.load(typed, **environ)
    assert found.options.cache_size == f"{strongest + 1}G"
    assert found.sources["eofs.cache_size"] == (
        f"~/{EODAG}", f"~/{EOFS}", "EODAG__EOFS__CACHE_SIZE", "EOFS__CACHE_SIZE", "the command line",
    )[strongest]  # fmt: skip


@pytest.mark.says("Blank values count as absent.")
@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blank_values_count_as_absent_in_every_layer(home: Home, blank: str) -> None:
    home.write(EODAG, "peps: {auth: {credentials: {username: alice, password: hunter2}}}\neofs: {wait: 7}")
    home.write(EOFS, "peps: {auth: {credentials: {username: , password: ''}}, download: }\neofs: {wait: ' '}")
    variables = {USERNAME: blank, PASSWORD.replace("EODAG", "EOFS"): blank, "EOFS__WAIT": blank}
    found = home.load({"wait": blank}, **variables)
    assert found.provider("peps").credentials == {"username": "alice", "password": "hunter2"}
    assert found.provider("peps").credentials_from == f"~/{EODAG}"
    assert found.options.wait == 7


def test_a_user_name_of_a_file_and_a_password_of_a_variable_make_one_login(home: Home) -> None:
    home.write(EODAG, "peps: {auth: {credentials: {username: alice}}}")
    peps = home.load(**{PASSWORD: "hunter2"}).provider("peps")
    assert peps.credentials == {"username": "alice", "password": "hunter2"}
    assert peps.credentials_from == f"~/{EODAG} and {PASSWORD}"


@pytest.mark.parametrize("template", [EODAG_2, EODAG_4], ids=["2.x", "4.x"])
def test_an_eodag_template_that_nobody_filled_in_changes_nothing(home: Home, template: str) -> None:
    untouched = home.load()
    home.write(EODAG, template)
    assert home.load() == untouched


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "---\n", "peps:\n", "sara: {priority: 2}\n"])
def test_a_file_that_says_nothing_of_downloads_changes_no_provider(home: Home, content: str) -> None:
    untouched = home.load()
    home.write(EODAG, content)
    assert home.load().providers == untouched.providers


@pytest.mark.parametrize(
    ("section", "credentials"),
    [
        ("auth: {credentials: {username: a}}\n  download_auth: {credentials: {username: d}}", {"username": "d"}),
        ("download_auth: {credentials: {username: d}}\n  auth: {credentials: {username: a}}", {"username": "d"}),
        ("auth: {credentials: {username: a}}\n  download_auth: {credentials: {username: }}", {"username": "a"}),
        ("auth: {credentials: {password: a}}\n  download_auth: {credentials: {username: d}}", {"username": "d"}),
        ("api: {credentials: {username: i}}\n  auth: {credentials: {username: a}}", {"username": "a"}),
        ("api: {credentials: {username: i}}\n  auth: {credentials: {username: ''}}", {"username": "i"}),
        ("search_auth: {credentials: {username: s}}", {}),
    ],
)
def test_credentials_are_the_first_of_download_auth_auth_and_api(
    home: Home, section: str, credentials: dict[str, str]
) -> None:
    home.write(EODAG, f"peps:\n  {section}\n")
    assert home.load().provider("peps").credentials == credentials


def test_the_rest_of_an_api_block_is_about_searching(home: Home) -> None:
    home.write(EODAG, "mine: {api: {type: UsgsApi, extract: false, base_uri: 'https://a.example', max_workers: x}}")
    mine = home.load().provider("mine")
    assert (mine.extract, mine.auth, mine.base_uri, mine.hosts) == (False, "none", None, ())


def test_a_variable_can_set_a_parameter_that_is_not_in_lower_case(home: Home) -> None:
    found = home.load(EODAG__PEPS__DOWNLOAD__DL_URL_PARAMS__ISSUERID="x", EOFS__PEPS__DOWNLOAD__DL_URL_PARAMS__N="1")
    assert found.provider("peps").dl_url_params == {"issuerId": "x", "n": "1"}


@pytest.mark.parametrize(
    ("variable", "heard"),
    [
        (USERNAME, True),
        ("EODAG__peps__Auth__CREDENTIALS__Username", True),
        ("eodag__PEPS__AUTH__CREDENTIALS__USERNAME", False),
        ("Eodag__PEPS__AUTH__CREDENTIALS__USERNAME", False),
        ("EODAG_PEPS__AUTH__CREDENTIALS__USERNAME", False),
        ("EODAG__PEPS__AUTH__CREDENTIALS", None),
        ("EODAG__PEPS__AUTH____USERNAME", False),
        ("EODAG__PEPS", False),
        ("EODAG__", False),
    ],
)
def test_the_grammar_of_variables(home: Home, variable: str, heard: bool | None) -> None:
    if heard is None:
        assert home.refusal(**{variable: "hunter2"}).startswith(f"{variable}: peps.auth.credentials: expected names")
    else:
        assert home.load(**{variable: "alice"}).provider("peps").credentials == ({"username": "alice"} if heard else {})


@pytest.mark.says("(`$EODAG_CFG_FILE`, `$EODAG_CFG_DIR/eodag.yml`, `~/.config/eodag/eodag.yml`)")
@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ({}, EODAG),
        ({"EODAG_CFG_DIR": "{home}/dir"}, "dir/eodag.yml"),
        ({"EODAG_CFG_FILE": "{home}/f.yml", "EODAG_CFG_DIR": "{home}/dir"}, "f.yml"),
        ({"EODAG_CFG_FILE": " ", "EODAG_CFG_DIR": ""}, EODAG),
        ({}, EOFS),
        ({"XDG_CONFIG_HOME": "{home}/xdg"}, "xdg/eofs/eofs.yml"),
        ({"XDG_CONFIG_HOME": "relative"}, EOFS),
        ({"EOFS__CONFIG": "{home}/mine.yml"}, "mine.yml"),
    ],
)
def test_where_the_files_are_looked_for(home: Home, setting: dict[str, str], place: str) -> None:
    home.write(place, "mine: {title: found}")
    environ = {name: value.format(home=home.folder) for name, value in setting.items()}
    assert home.load(**environ).provider("mine").title == "found"


@pytest.mark.says("eofs' own (`~/.config/eofs/eofs.yml`, or `--config`)")
@pytest.mark.says("the configuration file; where")
def test_config_names_the_file_that_is_read_instead_of_the_usual_one(home: Home) -> None:
    home.write(EOFS, "usual: {title: found}")
    other = home.write("other.yml", "other: {title: found}")
    found = home.load({"config": str(other)}, EOFS__CONFIG="/nowhere")
    assert found.provider("other").title == "found"
    assert found.provider("usual").title == ""
    assert found.options.config == other


def test_a_cache_is_where_xdg_says(home: Home) -> None:
    assert home.load(XDG_CACHE_HOME="/c").options.cache_dir == Path("/c/eofs")
    assert home.load(XDG_CACHE_HOME="c").options.cache_dir == home.folder / ".cache/eofs"


def test_passwords_that_look_like_numbers_stay_as_they_are_written(home: Home) -> None:
    home.write(EODAG, "peps: {auth: {credentials: {username: 1_000, password: 0123}}}")
    assert home.load().provider("peps").credentials == {"username": "1_000", "password": "0123"}


@pytest.mark.parametrize(
    ("section", "folder"),
    [
        ("download: {outputs_prefix: /a}", "/a"),
        ("download: {output_dir: /b}", "/b"),
        ("download: {output_dir: /b, outputs_prefix: /a}", "/b"),
        ("api: {outputs_prefix: /a}", "/a"),
        ("download: {output_dir: }", None),
    ],
)
def test_both_names_of_the_output_directory_mean_the_same(home: Home, section: str, folder: str | None) -> None:
    home.write(EODAG, f"peps: {{{section}}}")
    assert home.load().output_dir("PEPS") == (Path(folder) if folder else None)
    assert home.load(EODAG__PEPS__DOWNLOAD__OUTPUTS_PREFIX="/v").output_dir("peps") == Path("/v")
    assert home.load().output_dir("nobody") is None


# --- providers --------------------------------------------------------------------------------------------------------


def test_a_provider_that_nobody_knows_has_no_hosts_and_no_credentials(home: Home) -> None:
    assert home.load().provider("Nobody") == Provider(name="nobody")


@pytest.mark.says("and to hosts that the user's own file lists as `http://…`.")
def test_a_provider_of_the_user(home: Home) -> None:
    home.write(
        EOFS,
        "Mine:\n"
        "  title: My mirror\n"
        "  auth: {type: basic, credentials: {username: alice, password: hunter2}, hosts: ['http://mirror.lan:8080']}\n",
    )
    mine = home.load().provider("mine")
    assert mine.title == "My mirror"
    assert auth.headers(mine, "http://mirror.lan:8080/x")
    assert not auth.headers(mine, "http://mirror.lan/x")


def test_the_users_hosts_come_beside_the_built_in_ones(home: Home) -> None:
    peps = home.load(EOFS__PEPS__AUTH__HOSTS="127.0.0.1:8080, b.example").provider("peps")
    assert peps.hosts == ("peps.cnes.fr", "127.0.0.1:8080", "b.example")


def test_a_log_in_that_eofs_does_not_have_stops_nobody_who_does_not_need_it(home: Home) -> None:
    home.write(EODAG, "dedl: {auth: {type: EOIAMAuth, credentials: {username: alice}}}")
    assert home.load().provider("dedl").auth == "EOIAMAuth"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: 1\nb: @x", f"~/{EOFS}: line 2: not YAML"),
        ("- peps", f"~/{EOFS}: expected a mapping of providers"),
        ("peps", f"~/{EOFS}: expected a mapping of providers"),
        ("peps: 3", f"~/{EOFS}: expected a mapping of providers, each a mapping of settings"),
        ("eofs: 3", f"~/{EOFS}: expected a mapping of providers, each a mapping of settings"),
        ("peps: {download: {retries: many}}", f"~/{EOFS}: peps.download.retries cannot be 'many': expected a whole"),
        ("peps: {download: {output_dir: [x]}}", f"~/{EOFS}: peps.download.output_dir: expected a single text"),
        ("eofs: {wait: soon}", f"~/{EOFS}: wait cannot be 'soon': expected a number of minutes above 0"),
        ("eofs: {wait: {x: 1}}", f"~/{EOFS}: wait: expected a single value"),
        ("eofs: {layout: {id}}", f"~/{EOFS}: layout: expected a single value; in YAML, one that begins with {{ is"),
        ("eofs: {waits: 1}", f"~/{EOFS}: unknown option 'waits'; did you mean 'wait'? see eofs mount --help"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_the_file(home: Home, content: str, sentence: str) -> None:
    home.write(EOFS, content)
    assert home.refusal().startswith(sentence)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("EOFS__WAIT", "soon", "EOFS__WAIT: wait cannot be 'soon': expected a number of minutes above 0"),
        ("EOFS__WIAT", "2", "EOFS__WIAT: unknown option 'wiat'; did you mean 'wait'?"),
        ("EODAG__PEPS__DOWNLOAD__EXTRACT", "maybe", "EODAG__PEPS__DOWNLOAD__EXTRACT: peps.download.extract cannot be"),
        ("REQUESTS_CA_BUNDLE", "/no/where", "REQUESTS_CA_BUNDLE: there is no /no/where"),
        ("EODAG_CFG_FILE", "/no/where", "/no/where (named by EODAG_CFG_FILE) cannot be read: No such file"),
        ("EOFS__CONFIG", "/no/where", "/no/where (named by EOFS__CONFIG) cannot be read: No such file"),
    ],
)
def test_a_mistake_in_a_variable_is_named_with_the_variable(
    home: Home, variable: str, value: str, sentence: str
) -> None:
    assert home.refusal(**{variable: value}).startswith(sentence)


def test_a_file_that_cannot_be_read_is_named(home: Home) -> None:
    (home.folder / EOFS).mkdir(parents=True)
    assert home.refusal() == f"~/{EOFS} cannot be read: Is a directory"


def test_no_sentence_and_no_repr_shows_a_credential(home: Home) -> None:
    home.write(EODAG, "peps: {auth: {credentials: {username: alice, password: hunter2}}}")
    found = home.load(HTTPS_PROXY="http://bob:qwerty@proxy.example:3128")
    for secret in ("alice", "hunter2", "bob", "qwerty"):
        assert secret not in repr(found)
    home.write(EODAG, "peps: {auth: {credentials: {username: alice, password: [hunter2]}}}")
    assert "hunter2" not in home.refusal()


@pytest.mark.parametrize(
    ("mode", "content", "warned"),
    [
        (0o600, "peps: {auth: {credentials: {password: hunter2}}}", False),
        (0o644, "peps: {auth: {credentials: {password: hunter2}}}", True),
        (0o640, "peps: {auth: {credentials: {password: hunter2}}}", True),
        (0o644, EODAG_4, False),
    ],
)
def test_a_file_with_passwords_that_others_can_read_is_warned_of(
    home: Home, caplog: pytest.LogCaptureFixture, mode: int, content: str, warned: bool
) -> None:
    home.write(EODAG, content, mode)
    with caplog.at_level(logging.WARNING):
        home.load()
    assert (f"chmod 600 ~/{EODAG}" in caplog.text) is warned
    assert "hunter2" not in caplog.text


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.says("process names; `+name` adds")
@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("cache_dir", "/x", Path("/x")),
        ("cache-dir", "/x", Path("/x")),
        ("cache_dir", "x", Path.cwd() / "x"),
        ("cache_dir", "~/x", Path.home() / "x"),
        ("cache_size", "80%", "80%"),
        ("wait", "0.1", 0.1),
        ("timeout", "0", 0.0),
        ("timeout", "-1", -1.0),
        ("block", True, True),
        *[("block", word, True) for word in ("true", "TRUE", "yes", "1", "on")],
        *[("block", word, False) for word in ("false", "No", "0", "off")],
        ("block", False, False),
        ("order", "never", "never"),
        ("max_orders", "3", 3),
        ("max-orders", "3", 3),
        ("fetch", "whole", "whole"),
        ("extract", "false", False),
        ("extract", True, True),
        ("connections", "8", 8),
        ("stall_timeout", "0.5", 0.5),
        ("crawlers", "a,b", ("a", "b")),
        ("crawlers", "a b:c", ("a", "b", "c")),
        ("crawlers", "+a,+b*", (*CRAWLERS, "a", "b*")),
        ("crawlers", "+updatedb", CRAWLERS),
        ("crawlers", "a,+b", ("a", "b")),
        ("crawlers", "", ()),
        ("crawlers", "+", CRAWLERS),
        ("crawlers", "tracker-miner-fs*,updatedb.plocate", ("tracker-miner-f", "updatedb.plocat")),
        ("crawlers", "a*-of-very-many-parts", ("a*-of-very-many-parts",)),
        ("log-file", "/x.log", Path("/x.log")),
        ("verbose", True, 1),
        ("verbose", "2", 2),
        ("allow_other", True, True),
        ("allow_root", True, True),
        ("uid", "1000", 1000),
        ("gid", "0", 0),
        ("umask", "022", 0o22),
        ("umask", "0o27", 0o27),
    ],
)  # fmt: skip
def test_what_an_option_means(home: Home, name: str, written: str | bool, value: object) -> None:
    assert getattr(home.load({name: written}).options, name.replace("-", "_")) == value


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        *[
            ("cache_size", size, "a size above 0")
            for size in ("0", "0%", "101%", "big", "-1G", "1X", "0.1", "1e3", "%")
        ],
        *[("wait", minutes, "a number of minutes above 0") for minutes in ("0", "-1", "soon", "nan", "inf")],
        ("timeout", "inf", "a number of minutes"),
        ("block", "maybe", "true or false"),
        ("order", "always", "auto or never"),
        ("fetch", "half", "whole"),
        *[("max_orders", count, "a whole number from 1") for count in ("0", "-1", "1.5", "x", "9" * 5000)],
        ("connections", "0", "a whole number from 1"),
        ("stall_timeout", "0", "a number of seconds above 0"),
        ("uid", "alice", "a whole number from 0"),
        ("filter", "cloudCover", "a name, one of = != < <= > >=, and a value"),
        ("intersects", "no/such/file", "a GeoJSON file, WKT, or minlon,minlat,maxlon,maxlat"),
        *[("min_overlap", percent, "a number of percent, from 0 to 100") for percent in ("-1", "101", "half", "nan")],
        ("layout", "/{title}", "a path such as {collection}/{start:%Y/%m}/{title}, which is relative"),
        ("layout", "{platform}/{title}", "no fields but {title}, {id}, {provider}, {collection}, {start} and"),
        ("umask", "9", "octal digits such as 022"),
        ("umask", "1777", "octal digits"),
        ("cache_dir", "~nobody-of-that-name/x", "a path whose ~name is a user of this machine"),
        ("ro", "perhaps", "true or false"),
    ],
)
def test_what_an_option_cannot_mean(home: Home, name: str, written: str, expected: str) -> None:
    said = home.refusal({name: written})
    assert said.startswith(f"the command line: {name} cannot be ")
    assert f"expected {expected}" in said


@pytest.mark.parametrize("name", ["cache_dir", "cache_size", "wait", "order", "filter", "crawlers", "uid", "config"])
def test_a_bare_name_is_not_enough_for_an_option_with_a_value(home: Home, name: str) -> None:
    metavar = BY_NAME[name].metavar
    assert home.refusal({name: True}) == f"the command line: {name}: expected a value, as in {name}={metavar}"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("foo", "unknown option 'foo'; see eofs mount --help"),
        ("noblock", "unknown option 'noblock'; did you mean 'block'? see eofs mount --help"),
        ("cache_sise", "unknown option 'cache_sise'; did you mean 'cache_size'? see eofs mount --help"),
        ("cache", "unknown option 'cache'"),
    ],
)
def test_options_that_are_not_there(home: Home, name: str, sentence: str) -> None:
    assert sentence in home.refusal({name: "x"})


def test_flags_of_fuse_are_passed_on_and_those_of_mount_are_let_pass(home: Home) -> None:
    typed: dict[str, str | bool] = dict.fromkeys(
        ("ro", "nodev", "nosuid", "noexec", "noatime", "rw", "defaults", "nofail", "_netdev", "user", "noauto",
         "x-systemd.automount", "x-gvfs-hide"),
        True,
    )  # fmt: skip
    found = home.load({**typed, "comment": "z", "nonempty": "false"}).options
    assert found.flags == ("ro", "nodev", "nosuid", "noexec", "noatime")


def test_filters_add_up_on_the_command_line_and_take_the_place_of_those_in_a_file(home: Home) -> None:
    home.write(EOFS, "eofs: {filter: [cloudCover<20, storageStatus=ONLINE], min_overlap: 5}")
    assert [str(wish) for wish in home.load().options.filter] == ["cloudCover<20", "storageStatus=ONLINE"]
    found = home.load({"filter": ["title=*, a b", "size>1"]}).options
    assert [str(wish) for wish in found.filter] == ["title=*, a b", "size>1"]
    assert [str(wish) for wish in home.load(EOFS__FILTER="size>2").options.filter] == ["size>2"]
    with pytest.raises(ConfigError, match="name the area with intersects"):
        options.choice(found)


def test_crawlers_are_none_where_a_file_lists_none(home: Home) -> None:
    home.write(EOFS, "eofs: {crawlers: []}")
    assert home.load().options.crawlers == ()
    assert home.load(EOFS__CRAWLERS="").options.crawlers == ()
    assert home.load({"crawlers": "+x"}).options.crawlers == (*CRAWLERS, "x")


def test_a_blank_variable_does_not_let_crawlers_in(home: Home) -> None:
    assert home.load(EOFS__CRAWLERS="").options.crawlers == CRAWLERS


def test_crawlers_may_be_a_list_in_a_file(home: Home) -> None:
    home.write(EOFS, "eofs:\n  crawlers: [+clamscan, '+borg*']\n")
    assert home.load().options.crawlers == (*CRAWLERS, "clamscan", "borg*")


def test_names_of_crawlers_are_no_longer_than_the_kernel_knows_them() -> None:
    assert [name for name in CRAWLERS if len(name.rstrip("*")) > 15] == []


def typed(*words: str) -> dict[str, object]:
    """Read a command line of options."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(verbose=0)
    arguments.add_options(parser)
    return arguments.options_of(parser.parse_args(words))


@pytest.mark.says("Every `-o name=value` is also `--name value`, with `-` or `_` alike:")
@pytest.mark.parametrize("name", [*BY_NAME, "ro", "nodev", "nosuid", "noexec", "noatime"])
def test_each_option_may_be_said_in_every_way(home: Home, name: str) -> None:
    odd = {
        "order": "never",
        "fetch": "lazy",
        "block": "false",
        "extract": "false",
        "filter": "size>1",
        "umask": "022",
        "fallback": "none",
        "intersects": "POINT(1 2)",
        "requester_pays": "true",
        "notify": "true",
        "layout": "{id}",
    }
    is_flag = name not in BY_NAME or not BY_NAME[name].metavar
    config_file = str(home.write("c.yml", ""))
    value = "" if is_flag else config_file if name == "config" else odd.get(name, "7")
    ways: list[tuple[str, ...]] = []
    for spelt in {name, name.replace("_", "-")}:
        ways += [("-o", spelt), (f"--{spelt}",)] if is_flag else [("-o", f"{spelt}={value}"), (f"--{spelt}", value)]
    found = [home.load(typed(*way)).options for way in ways]
    assert all(each == found[0] for each in found)
    assert found[0] != home.load().options


@pytest.mark.says(
    "repeatable: `storageStatus=ONLINE`, `cloudCover<20`, `start>=2021-03-01`; each `-o filter=…` or "
    "`--filter` adds one"
)
def test_each_filter_adds_one_in_o_or_by_itself(home: Home) -> None:
    words = ["-o", "filter=storageStatus=ONLINE,filter=cloudCover<20,wait=3", "-o", "filter=title=a\\,b"]
    found = home.load(typed(*words, "--filter", "start>=2021-03-01", "--filter", "size>1")).options
    written = ["storageStatus=ONLINE", "cloudCover<20", "title=a,b", "start>=2021-03-01", "size>1"]
    assert ([str(wish) for wish in found.filter], found.wait) == (written, 3)


@pytest.mark.says("In `-o` a comma is written `\\,`")
def test_a_comma_in_o_is_written_with_a_backslash(home: Home) -> None:
    found = home.load(typed("-o", "intersects=0\\,40\\,5\\,50,wait=3")).options
    assert found.intersects
    assert (found.intersects.written, found.wait) == ("0,40,5,50", 3)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            {"cache_dir": Path("/c/eofs"), "cache_size": "50G"},
            marks=pytest.mark.says("`cache_dir`, `cache_size` `$XDG_CACHE_HOME/eofs`, `50G`"),
        ),
        pytest.param({"wait": 2, "timeout": 20}, marks=pytest.mark.says("`wait`, `timeout` `2`, `20` minutes")),
        pytest.param({"block": True}, marks=pytest.mark.says("`block` `true`")),
        pytest.param({"order": "auto"}, marks=pytest.mark.says("`order` `auto`")),
        pytest.param({"max_orders": 10}, marks=pytest.mark.says("`max_orders` `10`")),
        pytest.param({"fallback": ("cop_dataspace",)}, marks=pytest.mark.says("`fallback` `cop_dataspace`")),
        pytest.param({"fetch": "whole"}, marks=pytest.mark.says("`fetch` `whole`")),
        pytest.param({"filter": ()}, marks=pytest.mark.says("`filter` repeatable")),
        pytest.param(
            {"intersects": None, "min_overlap": 0}, marks=pytest.mark.says("`intersects`, `min_overlap` , `0`")
        ),
        pytest.param({"connections": 4}, marks=pytest.mark.says("`connections` `4`")),
        pytest.param({"requester_pays": False}, marks=pytest.mark.says("`requester_pays` `false`")),
        pytest.param(
            {"layout": FLAT}, marks=pytest.mark.says("`layout` `{title}` where products stand below the mount")
        ),
        pytest.param({"notify": False}, marks=pytest.mark.says("`notify` `false`")),
        pytest.param({"stall_timeout": 60}, marks=pytest.mark.says("`stall_timeout` `60` seconds")),
        pytest.param({"crawlers": CRAWLERS}, marks=pytest.mark.says("`crawlers` section 1 process names")),
        pytest.param(
            {"config": None, "log_file": None, "verbose": 0},
            marks=pytest.mark.says("`config`, `log_file`, `verbose` section 6, , `0`"),
        ),
        {"allow_other": False, "allow_root": False, "uid": None, "gid": None, "umask": None, "flags": ()},
    ],
    ids=" ".join,
)
def test_what_holds_where_nothing_is_said(home: Home, values: dict[str, object]) -> None:
    found = home.load(XDG_CACHE_HOME="/c").options
    assert {name: getattr(found, name) for name in values} == values


@pytest.mark.says("`extract` as the provider's `extract` says, else `true`")
def test_whether_an_archive_is_extracted_is_left_to_the_provider(home: Home) -> None:
    home.write(EODAG, "peps: {download: {extract: false}}\nonda: {download: {extract: }}")
    found = home.load()
    assert found.options.extract is None
    assert (found.provider("peps").extract, found.provider("onda").extract) == (False, True)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_table_of_options_says_what_the_defaults_are(option: options.Option) -> None:
    default = getattr(Options(cache_dir=Path("/c")), option.name)
    assert option.meaning
    if option.name in {"cache_dir", "config", "extract"}:  # these depend on variables, or on the provider
        assert option.default
    elif option.default:
        assert options.read(option.name, option.default, "") == default
    else:
        assert default in {None, False, ()}


def test_every_field_of_the_options_is_a_row_of_the_table() -> None:
    assert [*BY_NAME, "flags"] == list(Options.__dataclass_fields__)


@pytest.mark.says("limit (`10G`")
@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ("1", 1),
        ("1000", 1000),
        ("10G", 10 * 1024**3),
        ("10K", 10 * 1024),
        ("10k", 10 * 1024),
        ("10M", 10 * 1024**2),
        ("50G", 50 * 1024**3),
        ("50GB", 50 * 1024**3),
        ("50GiB", 50 * 1024**3),
        ("50 gib", 50 * 1024**3),
        ("1.5T", 3 * 1024**4 // 2),
        ("2P", 2 * 1024**5),
        ("1B", 1),
        ("0.5K", 512),
    ],
)
def test_sizes_are_binary(tmp_path: Path, written: str, limit: int) -> None:
    assert cache_limit(Options(cache_dir=tmp_path, cache_size=written)) == limit


@pytest.mark.says("`80%`)")
@pytest.mark.parametrize(
    ("written", "share"), [("80%", Fraction(4, 5)), ("100 %", Fraction(1)), ("0.5%", Fraction(1, 200))]
)
def test_a_percentage_is_of_the_disk_that_will_hold_the_cache(tmp_path: Path, written: str, share: Fraction) -> None:
    total = shutil.disk_usage(tmp_path).total
    assert cache_limit(Options(cache_dir=tmp_path / "not/yet", cache_size=written)) == int(share * total)


def test_a_percentage_of_a_disk_that_does_not_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    with pytest.raises(ConfigError, match=r"cannot tell the size of the disk of .*: Permission denied"):
        cache_limit(Options(cache_dir=tmp_path, cache_size="80%"))


@given(st.text(max_size=12))
def test_a_size_is_a_number_of_bytes_or_refused(written: str) -> None:
    try:
        assert cache_limit(Options(cache_dir=Path("/"), cache_size=written)) > 0
    except ConfigError as error:
        assert "a size above 0" in str(error)  # noqa: PT017 - either way is right


# --- network ----------------------------------------------------------------------------------------------------------

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("variables", "proxies"),
    [
        ({}, {}),
        ({"HTTPS_PROXY": PROXY}, {"https": PROXY}),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other.example"}, {"https": PROXY}),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, {"https": PROXY}),
        ({"HTTP_PROXY": PROXY}, {"http": PROXY}),
        ({"ALL_PROXY": PROXY}, {"all": PROXY}),
    ],
)
def test_proxies_come_from_the_usual_variables(home: Home, variables: dict[str, str], proxies: dict[str, str]) -> None:
    assert home.load(**variables).network.proxies == proxies


@pytest.mark.parametrize(
    ("no_proxy", "url", "proxied"),
    [
        ("", "https://a.example/", True),
        ("*", "https://a.example/", False),
        ("a.example", "https://a.example/", False),
        ("a.example", "https://b.a.example/", False),
        ("a.example", "https://ba.example/", True),
        (".a.example", "https://b.a.example/", False),
        ("*.a.example", "https://b.a.example/", False),
        ("A.Example", "https://a.example/", False),
        ("x.example, a.example", "https://a.example/", False),
        ("a.example:8443", "https://a.example:8443/", False),
        ("a.example:8443", "https://a.example/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", False),
        ("10.0.0.0/8", "https://11.1.2.3/", True),
        ("10.0.0.0/8", "https://a.example/", True),
        ("10.1.2.3", "https://10.1.2.3/", False),
        ("2001:db8::/32", "https://[2001:db8::1]/", False),
        ("", "http://127.0.0.1:8080/", False),
        ("", "http://localhost:8080/", False),
        ("", "http://a.example/", False),
    ],
)
def test_no_proxy_is_heard(home: Home, no_proxy: str, url: str, proxied: bool) -> None:
    network = home.load(HTTPS_PROXY=PROXY, NO_PROXY=no_proxy).network
    assert network.proxies_for(url) == ({"https": PROXY} if proxied else {})


def test_all_proxy_stands_in_for_every_scheme(home: Home) -> None:
    network = home.load(ALL_PROXY=PROXY).network
    assert network.proxies_for("http://a.example/") == {"http": PROXY}
    assert network.proxies_for("http://127.0.0.1/") == {}


def test_certificates_come_from_the_variable_that_requests_knows(home: Home) -> None:
    bundle = str(home.write("ca.pem", ""))
    assert home.load(REQUESTS_CA_BUNDLE=bundle).network.ca_bundle == bundle
    assert home.load(CURL_CA_BUNDLE=bundle).network.ca_bundle == bundle
    assert home.load(REQUESTS_CA_BUNDLE=" ").network.ca_bundle is True


def test_the_variables_of_the_process_are_read_where_none_are_given(
    monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    for name, value in {"HOME": str(home.folder), USERNAME: "alice"}.items():
        monkeypatch.setenv(name, value)
    assert config.load({}).provider("peps").credentials["username"] == "alice"


def test_a_session_bus_is_where_its_variable_says_or_at_the_usual_place(home: Home) -> None:
    assert home.load(DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/1000/bus").session_bus
    assert not home.load(DBUS_SESSION_BUS_ADDRESS=" ").session_bus
    with tempfile.TemporaryDirectory() as runtime, socket.socket(socket.AF_UNIX) as bus:
        assert not home.load(XDG_RUNTIME_DIR=runtime).session_bus
        bus.bind(f"{runtime}/bus")
        assert home.load(XDG_RUNTIME_DIR=runtime).session_bus
