"""What an eodag user has: files that eodag 2, 3 and 4 write for him to fill in, and variables. They work unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from confidential import secret
from hypothesis import given
from hypothesis import strategies as st

from eofs import auth, config, providers
from eofs.errors import ConfigError

if TYPE_CHECKING:
    from eofs.config import Config

DATA = Path(__file__).parent / "data"
VERSIONS = ("2", "3", "4")
FILES: dict[str, dict[str, Any]] = {
    version: yaml.safe_load((DATA / f"eodag-{version}.yml").read_text(encoding="utf-8")) for version in VERSIONS
}
BLOCKS = ("download_auth", "auth", "api")  # where eodag keeps what a download needs, the strongest first
# What "theia" was when these versions were made has another name now.
RENAMED = {("2", "theia"): "theia_muscate", ("3", "theia"): "theia_muscate"}
# Keys of the first Climate Data Store: they belonged to a number, and are no keys of the one that has taken its place.
OUTDATED = {("2", "cop_ads"), ("2", "cop_cds")}
PASSWORD = secret("password")


def credentials_in(section: dict[str, Any]) -> dict[str, str]:
    """Return what a section of a file holds for a download."""
    blocks = [section[block] for block in BLOCKS if block in section]
    found: dict[str, str] = next((block["credentials"] for block in blocks if "credentials" in block), {})
    return {name: value for name, value in found.items() if value}


def load(file: Path | None, **environ: str) -> Config:
    named = {"EODAG_CFG_FILE": str(file)} if file else {}
    return config.load({}, environ={"HOME": "/nowhere", **named, **environ})


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_eodag_loads_unchanged(version: str) -> None:
    found = load(DATA / f"eodag-{version}.yml")
    written = {name: given for name, section in FILES[version].items() if (given := credentials_in(section))}
    assert {name: dict(found.provider(name).credentials) for name in written} == written


@pytest.mark.says("and files holds for both")
@pytest.mark.parametrize(
    ("version", "name"),
    [
        (version, name)
        for version in VERSIONS
        for name in FILES[version]
        if name in providers.builtin() and credentials_in(FILES[version][name])
    ],
)
def test_a_provider_that_both_know_has_all_that_it_wants(version: str, name: str) -> None:
    provider = load(DATA / f"eodag-{version}.yml").provider(RENAMED.get((version, name), name))
    assert provider.auth in auth.KINDS
    assert provider.credentials_from == str(DATA / f"eodag-{version}.yml")
    assert bool(auth.missing(provider)) is ((version, name) in OUTDATED)


@pytest.mark.parametrize(("version", "extract"), [("2", True), ("3", True), ("4", True)])
def test_the_directory_for_products_is_found_under_either_name(version: str, extract: bool) -> None:
    found = load(DATA / f"eodag-{version}.yml")
    assert found.output_dir("usgs") == Path("/data/eo")
    assert found.provider("usgs").extract is extract


@pytest.mark.parametrize(
    ("name", "section", "credentials"),
    [
        ("usgs", "api: {credentials: {username: u, password: p}}", {"username": "u", "password": "p"}),
        ("aws_eos", "auth: {credentials: {apikey: s, aws_profile: p}}", {"apikey": "s", "aws_profile": "p"}),
        (
            "aws_eos",
            "search_auth: {credentials: {api_key: s}}\n  download_auth: {credentials: {aws_profile: p}}",
            {"aws_profile": "p"},
        ),
        ("theia", "auth: {credentials: {ident: i, pass: p}}", {"ident": "i", "pass": "p"}),
        ("theia", "auth: {credentials: {access_key: a, secret_key: s}}", {"access_key": "a", "secret_key": "s"}),
        ("cop_cds", "api: {credentials: {username: 1234, password: p}}", {"username": "1234", "password": "p"}),
        ("cop_cds", "auth: {credentials: {apikey: k}}", {"apikey": "k"}),
        ("creodias", "auth: {credentials: {username: u, password: 0012, totp: 123456}}", None),
    ],
    ids=["usgs", "aws_eos 2", "aws_eos 3", "theia 2", "theia 4", "cop_cds 2", "cop_cds 3", "numbers"],
)
def test_credentials_are_found_where_each_version_kept_them(
    tmp_path: Path, name: str, section: str, credentials: dict[str, str] | None
) -> None:
    (tmp_path / "eodag.yml").write_text(f"{name}:\n  priority: 2\n  {section}\n", encoding="utf-8")
    expected = credentials or {"username": "u", "password": "0012", "totp": "123456"}
    assert load(tmp_path / "eodag.yml").provider(name).credentials == expected


def test_a_provider_that_a_user_of_eodag_described_himself_is_known(tmp_path: Path) -> None:
    file = tmp_path / "eodag.yml"
    file.write_text(
        """
my_store:
  priority: 3
  roles: [host]
  search:
    type: StacSearch
    api_endpoint: https://store.example/search
    pagination: {max_items_per_page: 500, next_page_url_key_path: '$.links[?(@.rel="next")].href'}
    metadata_mapping: {cloudCover: ['{{"query":{{"eo:cloud_cover":{{"lte":"{cloudCover}"}}}}}}', $.properties]}
    need_auth: true
  products:
    GENERIC_PRODUCT_TYPE: {productType: '{productType}', metadata_mapping: {a: [b, {c: d}]}}
  auth:
    type: HTTPHeaderAuth
    matching_url: https://store.example
    matching_conf: {s3_endpoint: https://store.example, deep: {er: [1, 2]}}
    headers: {X-API-Key: "{apikey}"}
    credentials: {apikey: key-of-alice}
  download:
    type: HTTPDownload
    base_uri: https://store.example/data
    auth_error_code: [401, 403]
    max_workers: 2
    timeout: 30
    extract: true
    products: {S2: {archive_depth: 2, extensions: [zip]}}
""",
        encoding="utf-8",
    )
    found = load(file).provider("my_store")
    assert (found.auth, found.max_connections, set(found.auth_error_codes)) == ("header", 2, {401, 403})
    assert auth.headers(found, "https://store.example/data/1") == {"X-API-Key": "key-of-alice"}


# -- variables: each row of their grammar ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "name", "credentials"),
    [
        ("EODAG__PEPS__AUTH__CREDENTIALS__USERNAME", "u", "peps", {"username": "u"}),
        ("EODAG__USGS__API__CREDENTIALS__PASSWORD", "p", "usgs", {"password": "p"}),
        ("EODAG__AWS_EOS__DOWNLOAD_AUTH__CREDENTIALS__AWS_PROFILE", "p", "aws_eos", {"aws_profile": "p"}),
        ("EODAG__AWS_EOS__SEARCH_AUTH__CREDENTIALS__API_KEY", "s", "aws_eos", {}),
        ("EODAG__Cop_Dataspace__auth__Credentials__TOTP", "123456", "cop_dataspace", {"totp": "123456"}),
        ("eodag__PEPS__AUTH__CREDENTIALS__USERNAME", "u", "peps", {}),
        ("EODAG__PEPS__PRIORITY", "10", "peps", {}),
        ("EODAG__PEPS__PRIORITY", "many", "peps", {}),
        ("EODAG__PEPS__DOWNLOAD__TIMEOUT", "5", "peps", {}),
        ("EODAG_PROVIDERS_WHITELIST", "geodes", "peps", {}),
        ("EODAG_EXT_COLLECTIONS_CFG_URI", "", "peps", {}),
    ],
)
def test_what_a_variable_of_eodag_means(variable: str, value: str, name: str, credentials: dict[str, str]) -> None:
    assert load(None, **{variable: value}).provider(name).credentials == credentials


def test_variables_are_laid_over_the_file_key_by_key() -> None:
    found = load(DATA / "eodag-4.yml", EODAG__SARA__AUTH__CREDENTIALS__PASSWORD="newer").provider("sara")
    assert found.credentials == {"username": "user-of-sara", "password": "newer"}


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("TRUE", True), ("False", False)])
def test_a_truth_value_is_read_in_any_case(value: str, meant: bool) -> None:
    assert load(None, EODAG__PEPS__DOWNLOAD__EXTRACT=value).provider("peps").extract is meant


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("EODAG__PEPS__DOWNLOAD__EXTRACT", "maybe", "peps.download.extract cannot be 'maybe': expected true or false"),
        ("EODAG__PEPS__DOWNLOAD__MAX_WORKERS", "few", "peps.download.max_workers cannot be 'few': expected a whole"),
        ("EODAG__PEPS__AUTH__AUTH_ERROR_CODE", "x", "peps.auth.auth_error_code cannot be 'x': expected a whole number"),
        ("EODAG__PEPS__AUTH__TOKEN_TYPE", "xml", "peps.auth.token_type cannot be 'xml': expected json or text"),
        ("EODAG__PEPS__AUTH", PASSWORD, "peps.auth.type: expected a mapping of settings above it"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_with_what_was_expected(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, **{variable: value})
    assert str(refused.value).startswith(f"{variable}: {sentence}")
    assert PASSWORD not in str(refused.value)


# -- whatever is written: it is read, or it is refused in a sentence that shows no password ----------------------------

KEYS = st.sampled_from(
    [
        *("auth", "api", "download", "download_auth", "search_auth", "credentials", "type", "username", "password"),
        *(
            "apikey",
            "totp",
            "netrc",
            "keyring",
            "password_command",
            "matching_conf",
            "matching_url",
            "check_url",
            "hosts",
        ),
        *("headers", "req_data", "subject", "auth_tuple", "token_uri", "oidc_config_url", "auth_error_code"),
        *("extract", "dl_url_params", "output_dir", "max_workers", "order_enabled", "ssl_verify"),
    ]
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8),
    st.sampled_from(["netrc", "true", "basic", "HTTPHeaderAuth", "https://a.example", "{apikey}", "'"]),
)  # fmt: skip
TREES = st.recursive(
    VALUES,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=4)),
    max_leaves=12,
)


SECRET = {"credentials", "headers", "req_data", "dl_url_params"}


def with_secrets(tree: Any, *, secret: bool = False) -> Any:
    """Return a tree with the password wherever one may stand."""
    if isinstance(tree, dict):
        return {key: with_secrets(below, secret=secret or key in SECRET) for key, below in tree.items()}
    if isinstance(tree, list):
        return [with_secrets(below, secret=secret) for below in tree]
    return PASSWORD if secret else tree


@given(st.dictionaries(st.sampled_from(["peps", "geodes", "mine"]), TREES, max_size=2))
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(yaml.safe_dump(with_secrets(content)), encoding="utf-8")
    must_be_meant_or_named(file, {}, str(file))


@given(st.lists(KEYS, max_size=5), VALUES.map(str))
def test_no_variable_breaks_the_reader(path: list[str], value: str) -> None:
    name = "__".join(["EODAG", "PEPS", *path]).upper()
    must_be_meant_or_named(None, {name: PASSWORD if SECRET & set(path) else value}, name)


def must_be_meant_or_named(file: Path | None, environ: dict[str, str], place: str) -> None:
    try:
        found = load(file, **environ)
    except ConfigError as error:
        said = str(error)
    else:
        said = "\n".join([repr(found), *map(auth.how_to_supply, found.providers.values()), place])
    assert place in said
    assert PASSWORD not in said
