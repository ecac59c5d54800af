"""All that is secret in the tests, and how to find it wherever it should not be.

Every password, key, token and signature of a test holds one word that nothing else does, so each is found in whatever
else it stands in, and whole or cut short beside that word. A new one is made by `secret`. Those that files and
sentences of the tests spell out stand in `FIXED`. That of the demo provider, ``demo``, is no secret.
"""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

WORD = "n0b0dyelse5ees"
TOTP_SEED = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # "12345678901234567890", as in RFC 6238, appendix B
FIXED = (WORD, TOTP_SEED, "hunter2", "open-sesame", "password-of-", "secret-of-", "key-of-", "X-Amz-Signature=")


def secret(what: str) -> str:
    """Return a secret; `what` tells a reader of the test which."""
    return f"{what}-{WORD}"


PASSWORD = secret("pä55:w0rd&of alice")  # with what is hard to write in a header, a form and an address
APIKEY = secret("key-of-alice")


def _in_base64(text: str) -> set[str]:
    """Return what base64 makes of a text amid another, as in ``Basic``: at its three places, the sure part."""
    made = [base64.b64encode(bytes(before) + text.encode()).decode().rstrip("=") for before in range(3)]
    return {code[start : len(code) - 1] for code, start in zip(made, (0, 2, 3), strict=True)}


def forms(text: str) -> set[str]:
    """Return a text as it is, in an address, in base64, in JSON, in XML and in hexadecimal digits."""
    whole = {text, quote(text, safe=""), json.dumps(text)[1:-1], html.escape(text), text.encode().hex()}
    return whole | _in_base64(text)


_FORMS = tuple(form.encode() for text in FIXED for form in sorted(forms(text)))


def holds_a_secret(content: str | bytes) -> bool:
    """Tell whether a secret stands in there, in whatever form."""
    given = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return any(form in given for form in _FORMS)
