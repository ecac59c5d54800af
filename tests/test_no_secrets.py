"""A secret that is let out anywhere is noticed: what no_secrets.py says of tests that do so on purpose."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from confidential import PASSWORD, TOTP_SEED, WORD, forms, holds_a_secret, secret

HERE = Path(__file__).parent


def said(where: Path, marks: str) -> dict[str, str | None]:
    """Return what is said of the tests of leaks.py with such marks, run where no test of this run looks for files.

    They are run by another process than the one that tells of them, as all tests are by `make test`.
    """
    words = [sys.executable, "-m", "pytest", str(HERE / "leaks.py"), "-v", "--numprocesses=1", "-m", marks]
    more = ["--show-capture=no", f"--basetemp={where}", "-p", "no:cacheprovider"]
    done = subprocess.run([*words, *more], cwd=HERE.parent, capture_output=True, text=True, check=False, timeout=100)
    assert WORD not in done.stdout + done.stderr
    assert done.returncode == 1
    passed = re.findall(r" PASSED tests/leaks\.py::test_(\S+)", done.stdout)
    blocks = done.stdout.partition("= ERRORS =")[2].split("ERROR at teardown of test_")[1:]
    lines = (block.splitlines() for block in blocks)
    told = {head.split()[0]: says.removeprefix("a secret of this test is seen in ") for head, _, says, *_ in lines}
    return {**dict.fromkeys(passed), **told}


RECORD = "a record of the log eofs.leaks (DEBUG)"


@pytest.mark.parametrize(
    ("marks", "places"),
    [
        (
            "not mount",
            {
                "nothing": None,
                "a_record_that_nobody_keeps[plain]": RECORD,
                "a_record_that_nobody_keeps[percent-encoded]": RECORD,
                "a_record_that_nobody_keeps[Basic]": RECORD,
                "a_record_that_nobody_keeps[JSON]": RECORD,
                "a_record_that_nobody_keeps[repr]": RECORD,
                "a_traceback": "a record of the log eofs.leaks (ERROR)",
                "an_error": "an error (AccessRefused)",
                "a_status": "a status",
                "a_record_of_the_cache": "the file cache/records/cache.db",
                "a_fetched_file": "the file out/metadata.json",
                "a_program": "a command line, in standard error of a program",
                "nothing_after_all_that": None,
            },
        ),
        pytest.param(
            "mount",
            {
                "a_daemon": "a command line, in the command line of a process, in the name of a file that was left",
                "a_mount": "a status file",
            },
            marks=pytest.mark.mount,
        ),
    ],
    ids=["without a mount", "with one"],
)
def test_a_test_that_lets_a_secret_out_fails_and_is_told_where(
    tmp_path_factory: pytest.TempPathFactory, marks: str, places: dict[str, str | None]
) -> None:
    assert said(tmp_path_factory.mktemp("leaks") / "run", marks) == places


@pytest.mark.parametrize("before", ["", "a", "ab", "alice:", "x" * 100])
@pytest.mark.parametrize("text", [PASSWORD, TOTP_SEED, secret("k")])
def test_a_secret_is_found_in_every_form_and_among_other_things(text: str, before: str) -> None:
    for form in forms(before + text + "after"):
        assert holds_a_secret(f"… {form} …"), form
        assert holds_a_secret(form.encode())


def test_what_holds_no_secret_is_let_pass() -> None:
    assert not holds_a_secret(f"demo:demo alice {WORD[:-1]} {TOTP_SEED[1:]} \udcff")
