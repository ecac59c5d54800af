"""Where objects of a store are: links, and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eofs import buckets
from eofs.buckets import Place
from eofs.links import last_part

ENDPOINT = "https://eodata.example"


@pytest.mark.says("What is at `s3://BUCKET/KEY` is asked for at the provider's `s3_endpoint`, else at Amazon")
@pytest.mark.parametrize(
    ("link", "endpoint", "address"),
    [
        ("s3://usgs-landsat/a/b.TIF", None, "https://usgs-landsat.s3.amazonaws.com/a/b.TIF"),
        ("S3://usgs-landsat/a", None, "https://usgs-landsat.s3.amazonaws.com/a"),
        ("s3://with.dots/a", None, "https://s3.amazonaws.com/with.dots/a"),
        ("s3://Old_Bucket/a", None, "https://s3.amazonaws.com/Old_Bucket/a"),
        ("s3://eodata/S2/x.SAFE", ENDPOINT, "https://eodata.example/eodata/S2/x.SAFE"),
        ("s3://eodata/S2/x.SAFE", f"{ENDPOINT}/dp/", "https://eodata.example/dp/eodata/S2/x.SAFE"),
        ("s3://b11/a b+c&d=e?f#g%20é", ENDPOINT, "https://eodata.example/b11/a%20b%2Bc%26d%3De%3Ff%23g%2520%C3%A9"),
        ("s3://b11//a//b/", ENDPOINT, "https://eodata.example/b11//a//b/"),
        ("s3://b11", ENDPOINT, "https://eodata.example/b11"),
        ("s3://b11", None, "https://b11.s3.amazonaws.com/"),
    ],
)
def test_the_address_of_a_link(link: str, endpoint: str | None, address: str) -> None:
    place = buckets.of_link(link)
    assert place
    assert place.address(endpoint) == address
    assert buckets.find(address, endpoint) == place


@pytest.mark.parametrize(
    ("bucket", "address"),
    [
        ("abc", "https://abc.s3.eu-central-1.amazonaws.com/k"),
        ("a.bc", "https://s3.eu-central-1.amazonaws.com/a.bc/k"),
    ],
)
def test_the_address_in_a_region(bucket: str, address: str) -> None:
    assert Place(bucket, "k", "eu-central-1").address(None) == address


@pytest.mark.parametrize(
    "link",
    [
        "s3://", "s3:///a", "s3://x", "s3://evil.example#", "s3://evil.example:80/a", "s3://user@host/a", "s3://a/../b",
        "s3://ba\ncket/a", "s3://bücket/a", "https://bucket/a", "gs://bucket/a", "",
    ],
)  # fmt: skip
def test_what_names_no_bucket_is_no_link_and_makes_no_host(link: str) -> None:
    assert buckets.of_link(link) is None


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://abc.s3.us-west-2.amazonaws.com/k/x%20y", Place("abc", "k/x y", "us-west-2")),
        ("https://abc.s3-us-west-2.amazonaws.com/k", Place("abc", "k", "us-west-2")),
        ("https://abc.s3.dualstack.us-west-2.amazonaws.com/k", Place("abc", "k", "us-west-2")),
        ("https://a.b.c.s3.amazonaws.com/k", Place("a.b.c", "k")),
        ("https://s3.us-gov-west-1.amazonaws.com/abc/k", Place("abc", "k", "us-gov-west-1")),
        ("https://abc.s3.amazonaws.com/?list-type=2", Place("abc", "", "", "list-type=2")),
        ("http://abc.s3.amazonaws.com/k", None),
        ("https://abc.s3.amazonaws.com.example/k", None),
        ("https://abc.s3.evil.amazonaws.com/k", None),
        ("https://ec2-1-2-3-4.compute.amazonaws.com/k", None),
        ("https://abc.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=0", None),
        ("https://abc.s3.amazonaws.com/k?AWSAccessKeyId=1&Signature=0", None),
        ("https://user:pw@abc.s3.amazonaws.com/k", None),
        ("https://s3.amazonaws.com/", None),
        ("https://[s3.amazonaws.com/k", None),
    ],
)
def test_which_addresses_are_objects_of_amazons_store(url: str, place: Place | None) -> None:
    assert buckets.find(url, None) == place


@pytest.mark.parametrize("url", ["https://eodata.example.org/eodata/x", "http://eodata.example/eodata/x", ENDPOINT])
def test_which_addresses_are_none_of_a_store(url: str) -> None:
    assert buckets.find(url, ENDPOINT) is None


@pytest.mark.parametrize("name", ["us-east-1", "eu-central-1", "ap-southeast-4", "us-gov-west-1"])
def test_regions(name: str) -> None:
    assert buckets.is_region(name)


@pytest.mark.parametrize("name", ["", "EU", "us-east-1.evil.example", "us-east-1/", "default", "us-east-1\n"])
def test_no_regions(name: str) -> None:
    assert not buckets.is_region(name)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.sampled_from([None, ENDPOINT]))
def test_any_key_is_found_again_in_its_address(key: str, endpoint: str | None) -> None:
    place = Place("bucket", key)
    assert buckets.of_link(f"s3://bucket/{key}") == place
    assert buckets.find(place.address(endpoint), endpoint) == place


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("s3://bucket/a/b c+d.tif", "b c+d.tif"),
        ("s3://bucket/a/b%20c.tif", "b%20c.tif"),
        ("s3://bucket/a/b?c#d.tif", "b?c#d.tif"),
        ("s3://bucket/folder/", ""),
        ("s3://bucket", ""),
        ("https://host/a/b%20c.tif?x=1", "b c.tif"),
    ],
)
def test_the_name_of_an_object_is_the_end_of_its_key(link: str, name: str) -> None:
    assert last_part(link) == name
