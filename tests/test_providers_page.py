"""docs/PROVIDERS.md says what the files of the providers say, and its example works as it stands there."""

from __future__ import annotations

import re
import runpy
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from archives import make_zip
from conftest import eofs
from played import Asked, Played, serve

from eofs import providers
from eofs.demo import Reply

if TYPE_CHECKING:
    from typing import Any

HOUSE = Path(__file__).parent.parent
SCRIPT = HOUSE / "scripts" / "make_providers_page.py"
ZIP = make_zip(("scene/B04.tif", b"II*\0" * 100))


@pytest.fixture(scope="module")
def page() -> str:
    return (HOUSE / "docs" / "PROVIDERS.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_script_makes(page: str) -> None:
    made: dict[str, Any] = runpy.run_path(str(SCRIPT))
    assert page == made["page"](), "python scripts/make_providers_page.py writes it anew"


def test_every_provider_is_on_it(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` ", page.partition("## Credentials")[0], re.MULTILINE)
    assert {*rows, "demo"} == {*providers.builtin()}


def test_the_example_of_an_own_provider_works_as_it_stands_there(page: str, tmp_path: Path) -> None:
    example = page.partition("## Adding a provider")[2].partition("```yaml\n")[2].partition("```")[0]

    def answer(asked: Asked) -> Reply:
        return serve(asked, ZIP) if asked.authorization == "Basic alice:wonderland" else Reply(401)

    with Played("data.example.org", answer=answer) as archive:
        written = tmp_path / "home/.config/eofs/eofs.yml"
        written.parent.mkdir(parents=True)
        written.write_text(example.replace("data.example.org", archive.place("data.example.org")), encoding="utf-8")
        written.chmod(0o600)
        link = archive.local("https://data.example.org/scene.zip")
        said = f'{{"eodag:provider": "my_archive", "eodag:download_link": "{link}"}}'
        feature = f'{{"type": "Feature", "id": "scene", "geometry": null, "properties": {said}}}'
        (tmp_path / "result.json").write_text(f'{{"type": "FeatureCollection", "features": [{feature}]}}')
        done = eofs("fetch", tmp_path / "result.json", "--output", tmp_path / "out", home=tmp_path / "home")
    assert (done.returncode, len(archive.asked)) == (0, 1), done.stderr
    with zipfile.ZipFile(BytesIO(ZIP)) as zipped:
        assert [path.read_bytes() for path in (tmp_path / "out").rglob("*.tif")] == [zipped.read("scene/B04.tif")]
