"""What an eodag user does, run by the Python that has eodag: ``eodag_download.py URL TITLE DIRECTORY``.

Downloads a product from the provider of these benchmarks, extracts it, and prints the directory.
"""

import os
import sys
from pathlib import Path

os.environ["EODAG_EXT_COLLECTIONS_CFG_URI"] = ""  # read when it is loaded: ask for no list over the network

from eodag import EODataAccessGateway, EOProduct

PROVIDER = """
bench:
  search:
    type: QueryStringSearch
    api_endpoint: {base}/search
    metadata_mapping: {{id: $.id, geometry: $.geometry}}
  products: {{GENERIC_COLLECTION: {{_collection: "{{collection}}"}}}}
  auth:
    type: GenericAuth
    method: basic
    matching_url: {base}
    credentials: {{username: demo, password: demo}}
  download:
    type: HTTPDownload
    auth_error_code: 401
    extract: true
    archive_depth: 1
    dl_url_params: {{issuerId: demo}}
"""


def main() -> None:
    """Download."""
    url, title, directory = sys.argv[1:]
    gateway = EODataAccessGateway()
    gateway.update_providers_config(PROVIDER.format(base=url.partition("/resto")[0]))
    area = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
    properties = {
        "id": title,
        "title": title,
        "geometry": area,
        "eodag:download_link": url,
        "order:status": "succeeded",
    }
    product = EOProduct("bench", properties, collection="S2_MSI_L1C")
    print(gateway.download(product, output_dir=str(Path(directory))))


if __name__ == "__main__":
    main()
