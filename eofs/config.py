"""Where settings come from, laid over each other.

The weakest first:

1. the built-in files of `eofs.providers`
2. eodag's user file: ``$EODAG_CFG_FILE``, ``$EODAG_CFG_DIR/eodag.yml``, ``~/.config/eodag/eodag.yml``
3. eofs' own: ``$XDG_CONFIG_HOME/eofs/eofs.yml``, or ``--config``
4. variables: ``EODAG__PEPS__AUTH__CREDENTIALS__USERNAME``
5. variables: ``EOFS__PEPS__AUTH__CREDENTIALS__USERNAME``, ``EOFS__CACHE_SIZE``
6. the command line
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eofs import auth, credentials, options, providers
from eofs.errors import ConfigError
from eofs.model import Provider
from eofs.options import Options
from eofs.providers import values
from eofs.providers.layers import OWN, Setting, also_said, folded, leaves, merged

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

BUILT_IN = "built in"
COMMAND_LINE = "the command line"


@dataclass(frozen=True, slots=True)
class Network:
    """How this machine reaches the others, from the usual variables.

    Attributes:
        proxies: a proxy's address by scheme, ``all`` for every other; it may hold a password.
        no_proxy: hosts, domains, addresses and networks that are reached without one.
        ca_bundle: a file or directory of certificates to trust, or True for those that come with requests.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: tuple[str, ...] = ()
    ca_bundle: str | bool = True

    def proxies_for(self, url: str) -> dict[str, str]:
        """Return the proxy for `url` as requests takes it; none for loopback, nor where ``NO_PROXY`` says so."""
        asked = auth.authority(url)
        if asked is None or asked.is_loopback or any(_spares(entry, asked) for entry in self.no_proxy):
            return {}
        proxy = self.proxies.get(asked.scheme) or self.proxies.get("all")
        return {asked.scheme: proxy} if proxy else {}


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one run.

    Attributes:
        providers: those that are built in, and those of the user.
        output_dirs: where ``eofs fetch`` puts the products of a provider, where the user says so.
        sources: where each setting was found, by its dotted name (``peps.auth.credentials.username``,
            ``eofs.wait``); built-in ones included.
        session_bus: there is a desktop session's bus, by which desktops are told what to show.
        notify_socket: where a service manager wants to be told how we are (``$NOTIFY_SOCKET``); empty where none does.
    """

    options: Options
    providers: Mapping[str, Provider]
    output_dirs: Mapping[str, Path]
    sources: Mapping[str, str]
    network: Network
    session_bus: bool = False
    notify_socket: str = ""

    def provider(self, name: str) -> Provider:
        """Return a provider by its name, or by a host of its; one that nobody knows has no hosts and no credentials."""
        name = name.lower()
        return self.providers.get(name) or self._known_by(name) or Provider(name=name)

    def _known_by(self, host: str) -> Provider | None:
        """Return the provider that results mean by a host; the narrowest entry wins, then the user's own provider."""
        entries = (host, *(host[dot:] for dot, character in enumerate(host) if character == "."))
        known = reversed([*self.providers.values()])
        return min(
            (provider for provider in known if not set(entries).isdisjoint(provider.known_by)),
            key=lambda provider: next(place for place, entry in enumerate(entries) if entry in provider.known_by),
            default=None,
        )

    def output_dir(self, provider: str) -> Path | None:
        """Return where ``eofs fetch`` puts the products of a provider, None where nobody says so."""
        return self.output_dirs.get(self.provider(provider).name)


def load(command_line: Mapping[str, object], *, environ: Mapping[str, str] | None = None) -> Config:
    """Read every layer of the configuration.

    Args:
        command_line: options as typed, by name (``-`` and ``_`` alike); True for a bare name, a list for one that
            was repeated.
        environ: the variables; those of the process where not given.

    Raises:
        ConfigError: a file cannot be read, or a value in any layer cannot be meant.
    """
    environ = os.environ if environ is None else environ
    typed = [Setting((OWN, name), value, COMMAND_LINE) for name, value in command_line.items()]
    of_eodag, of_eofs = _variables("EODAG__", environ), _variables("EOFS__", environ)
    layers = [
        list(leaves(providers.builtin(), BUILT_IN)),
        _eodag_file(environ),
        _own_file([*of_eofs, *typed], environ),
        of_eodag,
        of_eofs,
        typed,
    ]
    chosen, chosen_from = _options([setting for layer in layers for setting in layer if setting.path[0] == OWN])
    tree, sources = merged(_of_providers([[s for s in layer if s.path[0] != OWN] for layer in layers]))
    found = credentials.shared(_providers(tree, sources, environ))
    _must_look_up(chosen.get("fallback", ()), found, chosen_from.get("eofs.fallback"))
    return Config(
        options=Options(**{"cache_dir": _folder("XDG_CACHE_HOME", ".cache", environ) / "eofs"} | chosen),
        providers=found,
        output_dirs={name: path for name in tree if (path := _output_dir(name, tree, sources))},
        sources=sources | chosen_from,
        network=_network(environ),
        session_bus=_has_session_bus(environ),
        notify_socket=environ.get("NOTIFY_SOCKET", ""),
    )


def _of_providers(layers: list[list[Setting]]) -> list[Setting]:
    """Return what the layers say, the built-in one first, after each value that a user wrote has proved to be meant."""
    former = {says["formerly"]: name for name, says in providers.builtin().items() if "formerly" in says}
    layers[1:] = (also_said(layer, former) for layer in layers[1:])
    settings = [setting for layer in layers for setting in folded(layer)]
    for setting in settings:
        if setting.source != BUILT_IN:
            providers.build(setting.path[0], merged([setting])[0][setting.path[0]], source=setting.source)
    return settings


def _folder(variable: str, default: str, environ: Mapping[str, str]) -> Path:
    """Return one of the XDG base directories; as their specification has it, a relative one does not count."""
    named = Path(environ.get(variable, "").strip())
    return named if named.is_absolute() else _home(environ) / default


def come_home() -> None:
    """Let ``HOME`` be the user's own in place of root's, which mount.fuse3 says to who may mount by fstab's ``user``.

    mount(8), which runs as root on their behalf, keeps the real one from it.
    """
    user = os.getuid()
    if user and os.environ.get("HOME") == pwd.getpwuid(0).pw_dir:
        with contextlib.suppress(KeyError):  # a user without a name has no home
            os.environ["HOME"] = pwd.getpwuid(user).pw_dir


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME", "").strip() or Path.home())


def _shown(path: Path, environ: Mapping[str, str]) -> str:
    """Return a path as users write it."""
    home = _home(environ)
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _eodag_file(environ: Mapping[str, str]) -> list[Setting]:
    """Read eodag's own user file: the one that eodag would read."""
    if named := environ.get("EODAG_CFG_FILE", "").strip():
        return _file(values.path(named), environ, named_by="EODAG_CFG_FILE")
    folder = environ.get("EODAG_CFG_DIR", "").strip()
    return _file((values.path(folder) if folder else _home(environ) / ".config/eodag") / "eodag.yml", environ)


def _own_file(stronger: list[Setting], environ: Mapping[str, str]) -> list[Setting]:
    """Read eofs' own file: the one that a variable or the command line names, else the usual one."""
    for setting in reversed(stronger):
        if setting.path == (OWN, "config") and not values.is_blank(setting.value):
            named = options.read("config", setting.value, setting.source)
            return _file(Path(str(named)), environ, named_by=setting.source)
    return _file(_folder("XDG_CONFIG_HOME", ".config", environ) / "eofs/eofs.yml", environ)


def _file(path: Path, environ: Mapping[str, str], named_by: str = "") -> list[Setting]:
    """Read a configuration file; one that is not there is empty, unless the user named it."""
    shown = _shown(path, environ)
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not named_by:
            return []
        by = f" (named by {named_by})" if named_by else ""
        raise ConfigError(f"{shown}{by} cannot be read: {error.strerror}") from None
    try:
        found = values.texts_of_yaml(content)
    except values.Unexpected as error:
        raise ConfigError(f"{shown}: {error}") from None
    if values.is_blank(found):
        return []
    settings = list(leaves(found, shown)) if isinstance(found, Mapping) else []
    if not isinstance(found, Mapping) or any(len(setting.path) == 1 for setting in settings):
        raise ConfigError(f"{shown}: expected a mapping of providers, each a mapping of settings")
    if mode & 0o044 and any("credentials" in setting.path for setting in settings):
        log.warning("%s holds credentials and can be read by others; to mend it: chmod 600 %s", shown, shown)
    return settings


def _variables(prefix: str, environ: Mapping[str, str]) -> list[Setting]:
    """Read variables such as ``EODAG__PEPS__AUTH__CREDENTIALS__USERNAME``; ``EOFS__WAIT`` is an option."""
    found = []
    for name in sorted(name for name in environ if name.startswith(prefix)):
        path = tuple(name.removeprefix(prefix).lower().split("__"))
        if len(path) == 1 and prefix == "EOFS__":
            path = (OWN, *path)
        if len(path) > 1 and all(path) and not values.is_blank(environ[name]):
            found.append(Setting(path, environ[name], name))
    return found


def _options(settings: Iterable[Setting]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the options say, the strongest last among `settings`, and where each was found."""
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in settings:
        written, source = setting.path[1], setting.source
        name = options.known_name(written, source)
        if name is None or options.is_absent(name, setting.value, typed=source == COMMAND_LINE):
            continue
        if len(setting.path) > 2 or isinstance(setting.value, Mapping):
            raise ConfigError(f"{source}: {name}: expected a single value; in YAML, one that begins with {{ is quoted")
        found[name], sources[f"{OWN}.{name}"] = options.read(name, setting.value, source), source
    flags = tuple(name for name in options.FLAGS if found.pop(name, False))
    return {**found, "flags": flags}, sources


def _providers(tree: Mapping[str, Any], sources: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Provider]:
    """Return every provider of which something is known that matters for a download."""
    found = {}
    named = environ.get("NETRC", "").strip()
    netrc = values.path(named) if named else _home(environ) / ".netrc"
    for name, settings in tree.items():
        below = f"{name}.auth.credentials."
        froms = dict.fromkeys(source for path, source in sources.items() if path.startswith(below))
        provider = providers.build(name, settings, source=" and ".join(froms) or None)
        if provider != Provider(name=name):
            found[name] = credentials.completed(provider, netrc, _shown(netrc, environ))
    return found


def _must_look_up(fallback: Iterable[str], known: Mapping[str, Provider], source: str | None) -> None:
    for name in fallback:
        if name not in known or not known[name].lookup:
            raise ConfigError(
                f"{source}: fallback cannot be {name!r}: it is not known how to look a product up there by its name; "
                f"name another provider, or set {name}.lookup.odata"
            )


def _output_dir(name: str, tree: Mapping[str, Any], sources: Mapping[str, str]) -> Path | None:
    written = tree[name].get("download", {}).get("output_dir")
    try:
        return None if written is None else values.path(written)
    except values.Unexpected as error:
        where = f"{name}.download.output_dir"
        source = next(source for path, source in sources.items() if f"{path}.".startswith(f"{where}."))
        raise ConfigError(f"{source}: {where}: expected {error}") from None


def _network(environ: Mapping[str, str]) -> Network:
    """Read the variables that curl and requests know; lower case wins, as with them."""

    def variable(name: str) -> str:
        return environ.get(name.lower(), "").strip() or environ.get(name, "").strip()

    proxies = {scheme: variable(f"{scheme.upper()}_PROXY") for scheme in ("http", "https", "all")}
    bundle = variable("REQUESTS_CA_BUNDLE") or variable("CURL_CA_BUNDLE")
    if bundle and not Path(bundle).exists():
        raise ConfigError(f"REQUESTS_CA_BUNDLE: there is no {bundle}; it names the certificates to trust")
    return Network(
        proxies={scheme: proxy for scheme, proxy in proxies.items() if proxy},
        no_proxy=values.words(variable("NO_PROXY").lower()),
        ca_bundle=bundle or True,
    )


def _has_session_bus(environ: Mapping[str, str]) -> bool:
    """Say whether there is a session bus: where the variable says, or at the usual place (sd_bus_open_user(3))."""
    runtime = environ.get("XDG_RUNTIME_DIR", "").strip()
    return bool(environ.get("DBUS_SESSION_BUS_ADDRESS", "").strip() or (runtime and Path(runtime, "bus").is_socket()))


def _spares(entry: str, asked: auth.Authority) -> bool:
    """Say whether an entry of ``NO_PROXY`` means that host: ``*``, a domain, an address or a network."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(asked.host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name, _, port = entry.partition(":")
        domain = name.removeprefix("*").strip(".")
        if port and port != str(asked.port):
            return False
        return bool(domain) and (asked.host == domain or asked.host.endswith(f".{domain}"))
