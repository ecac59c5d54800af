"""Logging in by a web page: DestinE's own settings, against a Keycloak that has a port for each of its hosts."""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from archives import make_zip
from confidential import secret
from engine_room import content
from hypothesis import given
from hypothesis import strategies as st
from played import HTML, Asked, Played, engine, say, serve

from eofs import forms
from eofs.config import Network
from eofs.demo import Reply
from eofs.errors import AccessRefused, EofsError, ProviderFailed
from eofs.faults import PassingFault
from eofs.logins import Login
from eofs.model import Provider
from eofs.tokens import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME, PASSWORD, CODE = "alice", secret("pä55:w0rd&<of> alice"), secret("code-of-alice")
BAND = b"II*\0" * 1000
ZIP = make_zip(("scene/B04.tif", BAND))
NOW = 1_800_000_000.0
DESP, DEDL, HDA = "auth.destine.eu", "identity.data.destination-earth.eu", "hda.data.destination-earth.eu"
POLYTOPE = "polytope.lumi.apps.dte.destination-earth.eu"
REALM = "/realms/desp/protocol/openid-connect"
PAGE = """<!DOCTYPE html><html><head><title>Sign in</title></head><body>
<form id="search" action="https://evil.example/"><input name="q" value="x"></form>
<form id="kc-form-login" action="{action}" method="post">
  {said}<input tabindex="1" id="username" name="username" value="" type="text" autofocus autocomplete="off" />
  <input tabindex="2" id="password" name="password" type="password" autocomplete="off" />
  <input type="checkbox" name="rememberMe"> Remember me
  <input type="hidden" id="id-hidden-input" name="credentialId" value="a &amp; b"/>
  <input tabindex="4" name="login" id="kc-login" type="submit" value="Sign In"/>
</form></body></html>"""
SECRETS = (PASSWORD, urlencode({"": PASSWORD})[1:], "access-", "refresh-", CODE, "subject-")


class Keycloak(Played):
    """The realm of DestinE's users, with the page that logs in; and the Data Lake's, which exchanges tokens.

    Attributes:
        page: of the log-in, with ``{action}`` and ``{said}`` in it.
        action: where its form is sent.
        instead: what comes in place of the way back, once a log-in has been accepted.
        changes: of the query of the way back.
        hops: the hosts that the way back leads over.
        active: the tokens that are good.
        faults: replies for the next requests of a path; each is used once.
    """

    def __init__(self, *hosts: str) -> None:
        super().__init__(DESP, DEDL, HDA, POLYTOPE, *hosts, answer=self._answer)
        self.page = PAGE
        self.action = f"https://{DESP}/realms/desp/login-actions/authenticate?session_code=s1&tab_id=t"
        self.instead: Reply | None = None
        self.changes: dict[str, str] = {}
        self.hops: list[str] = []
        self.active: set[str] = set()
        self.faults: dict[str, list[Reply]] = {}
        self._asked_for: dict[str, str] = {}

    def paths(self) -> list[str]:
        return [asked.path.rpartition("/")[2] for asked in self.asked]

    def _answer(self, asked: Asked) -> Reply:
        if faults := self.faults.get(asked.path.rpartition("/")[2]):
            return faults.pop(0)
        known = {
            (DESP, "openid-configuration"): self._describe,
            (DESP, "auth"): self._begin,
            (DESP, "authenticate"): self._log_in,
            (DESP, "hop"): self._lead_back,
            (HDA, "hop"): self._lead_back,
            (DESP, "token"): self._token,
            (DEDL, "token"): self._exchange,
            (HDA, "scene.zip"): self._serve,
        }
        return known[asked.host, asked.path.rpartition("/")[2]](asked)

    def _describe(self, asked: Asked) -> Reply:
        at = self.local(f"https://{DESP}{REALM}")
        return say(token_endpoint=f"{at}/token", authorization_endpoint=f"{at}/auth")

    def _begin(self, asked: Asked) -> Reply:
        self._asked_for = dict(asked.request.query)
        return self._form("")

    def _form(self, said: str) -> Reply:
        body = self.page.format(action=self.local(self.action).replace("&", "&amp;"), said=said)
        return Reply(
            200, {**HTML, "Set-Cookie": "AUTH_SESSION_ID=cookie-1; Path=/realms/desp/; HttpOnly"}, body.encode()
        )

    def _log_in(self, asked: Asked) -> Reply:
        if asked.request.headers.get("cookie") != "AUTH_SESSION_ID=cookie-1":
            return Reply(400, HTML, b"<p>Cookie not found</p>")
        if asked.form != {"username": NAME, "password": PASSWORD, "credentialId": "a & b"}:
            return self._form("Invalid username or password.")
        return self._lead_back(asked)

    def _lead_back(self, asked: Asked) -> Reply:
        if self.hops:
            return Reply(302, {"Location": f"https://{self.hops.pop(0)}/hop"})
        query = {"state": self._asked_for["state"], "session_state": "x", "code": CODE, **self.changes}
        back = {"Location": f"{self._asked_for['redirect_uri']}?{urlencode(query)}"}
        return self.instead or Reply(302, back)

    def _token(self, asked: Asked) -> Reply:
        form = asked.form
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.active:
                return Reply(400, {}, b'{"error": "invalid_grant", "error_description": "Session not active"}')
            return self._give("subject")
        challenge = urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        same = {name: self._asked_for[name] for name in ("client_id", "redirect_uri")}
        known = {"grant_type": "authorization_code", "code": CODE, **same}
        is_right = form == {**known, "code_verifier": form["code_verifier"]}
        if not is_right or (challenge, "S256") != (
            self._asked_for["code_challenge"],
            self._asked_for["code_challenge_method"],
        ):
            return Reply(400, {}, b'{"error": "invalid_grant"}')
        return self._give("subject")

    def _exchange(self, asked: Asked) -> Reply:
        form = asked.form
        if form["grant_type"] == "refresh_token":
            return self._give("access") if form["refresh_token"] in self.active else Reply(400)
        if form.pop("subject_token") not in self.active:
            return Reply(400, {}, b'{"error": "invalid_token"}')
        assert form == {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_issuer": "desp-oidc",
            "client_id": "hda-public",
            "audience": "hda-public",
        }
        return self._give("access")

    def _serve(self, asked: Asked) -> Reply:
        return serve(asked, ZIP) if asked.authorization.removeprefix("Bearer ") in self.active else Reply(401)

    def _give(self, what: str) -> Reply:
        token, refresh = (f"{secret(kind)}-{len(self.asked)}" for kind in (what, f"refresh-{what}"))
        self.active |= {token, refresh}
        return say(access_token=token, refresh_token=refresh, expires_in=300, refresh_expires_in=1800)


class At:
    """A clock that stands still until it is moved."""

    time = NOW

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def keycloak() -> Iterator[Keycloak]:
    with Keycloak() as played:
        yield played


def dedl(keycloak: Keycloak, **changes: Any) -> Provider:
    """Return the Data Lake as its file describes it; `changes` are of the log-in whose token is exchanged."""
    found = keycloak.provider("dedl", username=NAME, password=PASSWORD)
    return replace(found, login={**found.login, "subject": {**found.login["subject"], **changes}})


def code_flow(keycloak: Keycloak, **changes: Any) -> Provider:
    """Return DestinE's log-in alone, as the digital twins use it."""
    found = dedl(keycloak, **changes)
    return replace(found, auth="oidc_code", login=found.login["subject"])


def log_in(speaks: Provider, keycloak: Keycloak, now: Any = None) -> str:
    """Log in and return what is shown with a request."""
    login = Login(speaks, Network(), stall_timeout=30, now=now or At())
    try:
        return login.authorise(keycloak.local(f"https://{HDA}/stac/v2/x")).headers["Authorization"]
    finally:
        login.close()


@pytest.mark.says(
    "the log-in's page is filled in, and its code given for a token",
    "(or `oidc_config_url`), `redirect_uri`, `client_id`",
    "the token of `subject` (settings as of `oidc_code`) is given for another: `token_uri`, "
    "`client_id`, `audience`, `subject_issuer`",
)
def test_the_data_lakes_token_is_exchanged_for_what_the_page_gives(keycloak: Keycloak) -> None:
    assert log_in(dedl(keycloak), keycloak) == f"Bearer {secret('access')}-5"
    subject = f"{secret('subject')}-4"
    assert keycloak.shown({"password": PASSWORD, "code": CODE, "subject": subject}) == [
        (f"GET {DESP}/realms/desp/.well-known/openid-configuration", set()),
        (keycloak.shown({})[1][0], set()),
        (f"POST {DESP}/realms/desp/login-actions/authenticate?session_code=s1&tab_id=t", {"password"}),
        (f"POST {DESP}{REALM}/token", {"code"}),
        (f"POST {DEDL}/auth/realms/dedl/protocol/openid-connect/token", {"subject"}),
    ]
    asked = dict(keycloak.asked[1].request.query)
    assert [len(asked.pop(name)) >= 32 for name in ("state", "code_challenge")] == [True, True]
    assert asked == {
        "client_id": "dedl-hda",
        "redirect_uri": keycloak.local(f"https://{HDA}/stac/v2"),
        "response_type": "code",
        "scope": "openid",
        "code_challenge_method": "S256",
    }


def test_a_product_of_the_data_lake_comes_with_that_token(keycloak: Keycloak, tmp_path: Path) -> None:
    link = f"https://{HDA}/download/scene.zip"
    said = {"eodag:provider": "dedl", "title": "scene", "eodag:download_link": link, "order:status": "succeeded"}
    (product,) = keycloak.result({"type": "Feature", "id": "1", "geometry": None, "properties": said})
    with engine(dedl(keycloak), tmp_path) as opened:
        assert content(opened, product, "B04.tif") == BAND
        keycloak.active = {token for token in keycloak.active if "refresh" in token}
        assert content(opened, replace(product, uid="2"), "B04.tif") == BAND
    shown = [(asked.host, asked.shows({"token": "access-"})) for asked in keycloak.asked if asked.host == HDA]
    assert shown
    assert all(seen == {"token"} for _, seen in shown)
    assert [host for host in (DESP, DEDL) if [asked for asked in keycloak.asked if asked.host == host]] == [DESP, DEDL]
    assert keycloak.paths().count("authenticate") == 1


def test_two_log_ins_share_neither_state_nor_verifier_nor_cookies(keycloak: Keycloak) -> None:
    shown = [log_in(code_flow(keycloak), keycloak) for _ in range(2)]
    assert shown == [f"Bearer {secret('subject')}-{number}" for number in (4, 8)]
    first, second = (dict(asked.request.query) for asked in keycloak.asked if asked.path.endswith("/auth"))
    assert not {first["state"], first["code_challenge"]} & {second["state"], second["code_challenge"]}
    assert [asked.request.headers.get("cookie") for asked in keycloak.asked if asked.path.endswith("/auth")] == [
        None
    ] * 2


def test_a_wrong_password_brings_the_form_again_which_is_a_refusal(keycloak: Keycloak) -> None:
    wrong = replace(dedl(keycloak), credentials={"username": NAME, "password": "hunter2"})
    login = Login(wrong, Network(), stall_timeout=30, now=At())
    for _ in range(3):
        with pytest.raises(AccessRefused, match="dedl refused the credentials at the log-in; check them: set EODAG__D"):
            login.authorise(keycloak.local(f"https://{HDA}/x"))
    login.close()
    assert keycloak.paths().count("authenticate") == 1  # wrong passwords lock an account


def test_a_token_that_ends_is_renewed_without_the_password(keycloak: Keycloak) -> None:
    clock = At()
    login = Login(dedl(keycloak), Network(), stall_timeout=30, now=clock)
    url = keycloak.local(f"https://{HDA}/x")
    first = login.authorise(url).headers
    clock.time += 299
    assert login.authorise(url).headers != first
    assert keycloak.paths()[5:] == ["token"]
    assert keycloak.asked[5].host == DEDL
    login.close()


def test_what_is_exchanged_is_renewed_where_the_data_lake_does_not_renew(keycloak: Keycloak) -> None:
    clock = At()
    login = Login(dedl(keycloak), Network(), stall_timeout=30, now=clock)
    url = keycloak.local(f"https://{HDA}/x")
    login.authorise(url)
    keycloak.active -= {token for token in keycloak.active if "access" in token}
    clock.time += 299
    login.authorise(url)
    said = [(asked.host, asked.form["grant_type"].rpartition(":")[2]) for asked in keycloak.asked[5:]]
    assert said == [(DEDL, "refresh_token"), (DESP, "refresh_token"), (DEDL, "token-exchange")]
    login.close()


def test_a_session_that_has_ended_is_opened_again(keycloak: Keycloak) -> None:
    clock = At()
    login = Login(dedl(keycloak), Network(), stall_timeout=30, now=clock)
    url = keycloak.local(f"https://{HDA}/x")
    used = login.authorise(url)
    keycloak.active.clear()
    assert login.refused(used, 401)
    assert login.authorise(url).headers != used.headers
    assert keycloak.paths().count("authenticate") == 2
    login.close()


@pytest.mark.says("the password is sent to the host of its form, and to no other.")
@pytest.mark.parametrize(
    ("action", "host"),
    [("https://evil.example/steal", "evil.example"), (f"https://{HDA}/steal", "127.0.0.1"), ("//evil.example", "evil")],
    ids=["another host", "one of the provider's", "without a scheme"],
)
def test_the_password_goes_to_the_host_of_its_form_only(keycloak: Keycloak, action: str, host: str) -> None:
    keycloak.action = action
    with pytest.raises(AccessRefused, match=f"would send the password to {host}.*which is another host"):
        log_in(dedl(keycloak), keycloak)
    assert keycloak.paths() == ["openid-configuration", "auth"]


def test_an_action_that_is_no_address_is_none(keycloak: Keycloak) -> None:
    keycloak.action = "https://[evil/"
    with pytest.raises(ProviderFailed, match="names an address that cannot be read at the log-in"):
        log_in(dedl(keycloak), keycloak)


@pytest.mark.says("`authentication_uri_source`, `authentication_uri`")
def test_it_goes_elsewhere_where_the_settings_say_so(keycloak: Keycloak) -> None:
    keycloak.action = f"https://{HDA}/steal"
    said = {
        "authentication_uri_source": "config",
        "authentication_uri": keycloak.local(f"https://{DESP}/x/authenticate"),
    }
    with pytest.raises(ProviderFailed, match="400"):  # the cookie is for another path
        log_in(code_flow(keycloak, **said), keycloak)
    assert keycloak.asked[2].path == "/x/authenticate"


def test_a_form_without_an_action_is_sent_to_its_own_page(keycloak: Keycloak) -> None:
    keycloak.action = ""
    with pytest.raises(AccessRefused, match="refused the credentials"):  # the page again, with a form
        log_in(code_flow(keycloak), keycloak)
    assert [asked.request.method for asked in keycloak.asked] == ["GET", "GET", "POST"]


@pytest.mark.says("`exchange_url_error_pattern`")
@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(302, {"Location": "https://evil.example/"}), "leads from its log-in to evil.example, which is not one"),
        (Reply(302, {"Location": f"https://{DESP}/required-action?execution=TERMS_AND_CONDITIONS"}),
         "refused the log-in: its terms and conditions are not accepted"),
        (Reply(200, HTML, b"<form><input name='otp'></form>"), "wants more than name and password"),
        (Reply(200, HTML, b"<![odd["), "wants more than name and password"),
        (Reply(302, {"Location": f"https://{DESP}/realms/desp/login-actions/authenticate"}), "refused the credentials"),
        (Reply(302, {"Location": "https://[evil/"}), "cannot be used"),
    ],
    ids=["redirect", "terms", "one-time code", "odd page", "to the form again", "no address"],
)  # fmt: skip
def test_what_comes_in_place_of_the_way_back_is_said(keycloak: Keycloak, reply: Reply, sentence: str) -> None:
    keycloak.instead = reply
    with pytest.raises(EofsError, match=sentence):
        log_in(dedl(keycloak), keycloak)
    assert {asked.host for asked in keycloak.asked} == {DESP}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": "another"}, "answers a log-in that was not asked for"),
        ({"state": ""}, "answers a log-in that was not asked for"),
        ({"code": ""}, "gives no code for the log-in; check the settings in dedl.auth"),
        ({"error": "access_denied"}, "refused the log-in (access_denied)"),
        ({"error": "invalid_scope"}, "gives no code for the log-in (invalid_scope)"),
        ({"error": f"<b>{CODE}</b>"}, "gives no code for the log-in (no reason given)"),
        ({"code": "of-somebody-else"}, "dedl refused the credentials at the log-in (400 Bad Request)"),
    ],
)
def test_a_way_back_that_is_not_ours_is_refused(keycloak: Keycloak, changes: dict[str, str], sentence: str) -> None:
    keycloak.changes = changes
    with pytest.raises((AccessRefused, ProviderFailed)) as wrong:
        log_in(dedl(keycloak), keycloak)
    assert sentence in str(wrong.value)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_setting_that_is_missing_is_named(keycloak: Keycloak, name: str) -> None:
    with pytest.raises(AccessRefused, match=f"set dedl.auth.{name}"):
        log_in(code_flow(keycloak, **{name: None}), keycloak)
    without = replace(dedl(keycloak), login={"token_uri": keycloak.local(f"https://{DEDL}/token")})
    with pytest.raises(AccessRefused, match=r"set dedl\.auth\.subject"):
        log_in(without, keycloak)


def test_a_page_without_a_form_and_one_that_is_down_are_told_apart(keycloak: Keycloak) -> None:
    keycloak.faults = {"auth": [Reply(503), Reply(200, HTML, b"<p>under maintenance</p>")]}
    with pytest.raises(PassingFault):
        log_in(code_flow(keycloak), keycloak)
    with pytest.raises(ProviderFailed, match="shows no form to log in"):
        log_in(code_flow(keycloak), keycloak)


@pytest.mark.says("Those of a log-in's page are, on its own host and the provider's")
def test_redirects_are_followed_on_the_pages_host_and_the_providers_and_take_no_password_along(
    keycloak: Keycloak,
) -> None:
    keycloak.hops = [DESP, HDA, DESP]
    log_in(code_flow(keycloak), keycloak)
    assert keycloak.paths() == ["openid-configuration", "auth", "authenticate", "hop", "hop", "hop", "token"]
    shown = [asked.path.rpartition("/")[2] for asked in keycloak.asked if asked.shows({"password": PASSWORD})]
    assert shown == ["authenticate"]


@pytest.mark.says("`authorization_uri`, `token_uri`", "`scope`")
def test_the_addresses_of_a_log_in_may_be_said_one_by_one(keycloak: Keycloak) -> None:
    at = keycloak.local(f"https://{DESP}{REALM}")
    said = {"authorization_uri": f"{at}/auth", "token_uri": f"{at}/token", "scope": "openid offline_access"}
    log_in(code_flow(keycloak, oidc_config_url=None, **said), keycloak)
    assert keycloak.paths() == ["auth", "authenticate", "token"]
    assert keycloak.asked[0].request.query["scope"] == "openid offline_access"


@pytest.mark.says("`additional_login_form_data`")
def test_more_can_be_sent_with_the_form(keycloak: Keycloak) -> None:
    more = {"rememberMe": "on", "credentialId": "xpath(//input[@name='credentialId']/@value)"}
    with pytest.raises(AccessRefused, match="refused the credentials"):  # as the form was another one
        log_in(code_flow(keycloak, additional_login_form_data=more), keycloak)
    assert keycloak.asked[-1].form == {
        "username": NAME, "password": PASSWORD, "credentialId": "a & b", "rememberMe": "on",
    }  # fmt: skip


@pytest.mark.says("`login_form_xpath`")
@pytest.mark.parametrize(("named", "fields"), [("kc-form-login", {"credentialId"}), ("other", {"more"})])
def test_of_several_forms_with_a_password_the_one_that_is_named_is_filled_in(
    keycloak: Keycloak, named: str, fields: set[str]
) -> None:
    other = '<form id="other" action="{action}"><input type="password" name="password"><input name="more"></form>'
    keycloak.page = PAGE.replace("<body>", f"<body>{other}")
    keycloak.instead = Reply(200, HTML, b"<p>who are you?</p>")
    with pytest.raises(AccessRefused):
        log_in(code_flow(keycloak, login_form_xpath=f"//form[@id='{named}']"), keycloak)
    assert set(keycloak.asked[-1].form) == {"username", "password", *fields}


@pytest.mark.says("`token_exchange_post_data_method`")
def test_a_code_may_be_given_for_a_token_in_json(keycloak: Keycloak) -> None:
    keycloak.faults = {"token": [say(access_token=secret("access"), expires_in=300)]}
    log_in(code_flow(keycloak, req_format="json"), keycloak)
    request = keycloak.asked[-1].request
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body)["code"] == CODE


def test_redirects_without_end_have_one(keycloak: Keycloak) -> None:
    keycloak.faults = {"auth": [Reply(302, {"Location": f"https://{DESP}{REALM}/auth"})] * 50}
    with pytest.raises(ProviderFailed, match="redirects without end"):
        log_in(code_flow(keycloak), keycloak)


@pytest.mark.says("`client_id`, `client_secret`, `scope`", "`token_exchange_params`")
def test_names_that_a_provider_calls_otherwise_are_its_own(keycloak: Keycloak) -> None:
    params = {"redirect_uri": "callback", "client_id": "app"}
    renamed = {"token_exchange_params": params, "client_secret": secret("client")}
    with pytest.raises(AccessRefused, match="refused the credentials"):
        log_in(code_flow(keycloak, **renamed), keycloak)
    form = keycloak.asked[-1].form
    assert (form["app"], form["callback"], form["client_secret"]) == (
        "dedl-hda", keycloak.local(f"https://{HDA}/stac/v2"), secret("client"),
    )  # fmt: skip
    assert not {"client_id", "redirect_uri"} & set(form)


MARKS = ("<form", " action='", "'", ">", "<input type=password name=p>", "</form>", "<![x[", "<!", "&#", "<?")
PAGES = st.lists(st.sampled_from(MARKS) | st.text(max_size=4))


@given(PAGES, st.none() | st.text(st.characters(max_codepoint=255), max_size=30))
def test_whatever_a_log_in_answers_it_is_said_or_it_is_a_code(pieces: list[str], location: str | None) -> None:
    login = {"client_id": "x", "redirect_uri": "https://a.example/"}
    speaks = Provider("dedl", auth="oidc_code", credentials={"username": NAME, "password": PASSWORD}, login=login)
    head = {} if location is None else {"Location": location}
    answer = Answer(200 if location is None else 302, head, "".join(pieces).encode("utf-8", "surrogatepass"))
    with pytest.raises((EofsError, PassingFault)) as wrong:
        forms.log_in(speaks, lambda _question: answer, "https://b.example/auth")
    assert PASSWORD not in str(wrong.value)


def test_nothing_of_it_is_logged(keycloak: Keycloak, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "eofs")
    log_in(dedl(keycloak), keycloak)
    keycloak.changes = {"state": "another"}
    with pytest.raises(ProviderFailed) as wrong:
        log_in(dedl(keycloak), keycloak)
    seen = caplog.text + str(wrong.value) + repr(dedl(keycloak)) + repr(wrong.value.__cause__)
    assert not [secret for secret in SECRETS if secret in seen]
