from __future__ import annotations

import pytest

from cloudnet.errors import BadInput
from cloudnet.store.connection import Endpoint
from cloudnet.store.etcd_settings import parse


@pytest.mark.parametrize(
    ("url", "environ", "tls", "endpoints"),
    [
        ("etcd://10.0.0.1:2379", {}, False, [("10.0.0.1", 2379)]),
        ("etcd://10.0.0.1/", {}, False, [("10.0.0.1", 2379)]),
        ("etcds://a.example:1,b.example:2", {}, True, [("a.example", 1), ("b.example", 2)]),
        ("etcd://[fd00::1]:2379", {}, False, [("fd00::1", 2379)]),
        ("etcd://", {"ETCD_ENDPOINTS": "http://a:1"}, False, [("a", 1)]),
        ("etcd://", {"ETCD_ENDPOINTS": "https://a:1,https://b:2/"}, True, [("a", 1), ("b", 2)]),
        ("etcds://", {"ETCD_ENDPOINTS": "https://a:1"}, True, [("a", 1)]),
        ("etcd://a:1", {"ETCD_ENDPOINTS": "https://b:2"}, False, [("a", 1)]),
    ],
)
def test_url_and_environment_name_the_members(url, environ, tls, endpoints):
    settings = parse(url, environ)

    assert settings.tls is tls
    assert settings.endpoints == tuple(Endpoint(*one) for one in endpoints)


def test_user_and_password_come_from_the_environment_and_are_not_shown():
    settings = parse("etcd://a", {"ETCD_USERNAME": "calico", "ETCD_PASSWORD": "s3cret"})

    assert (settings.username, settings.password) == ("calico", "s3cret")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "environ", "path", "problem"),
    [
        ("etcd://", {}, "store", "ETCD_ENDPOINTS"),
        ("etcd://me:s3cret@a:1", {}, "store", "set ETCD_USERNAME and ETCD_PASSWORD"),
        ("etcd://a:b", {}, "store", "found 'a:b'"),
        ("etcd://a:1,", {}, "store", "found ''"),
        ("etcd://a:99999", {}, "store", "found 'a:99999'"),
        ("etcd://a/b", {}, "store", "found 'a/b'"),
        ("etcd://", {"ETCD_ENDPOINTS": "a:1"}, "ETCD_ENDPOINTS", "expected http://HOST:PORT or https://HOST:PORT"),
        ("etcd://", {"ETCD_ENDPOINTS": "http://u:s3cret@a:1"}, "ETCD_ENDPOINTS", "expected http://HOST:PORT"),
        ("etcd://", {"ETCD_ENDPOINTS": "http://a:1,https://b:1"}, "ETCD_ENDPOINTS", "found both"),
        ("etcds://", {"ETCD_ENDPOINTS": "http://a:1"}, "ETCD_ENDPOINTS", "found http://"),
        ("etcds://a", {"ETCD_CERT_FILE": "/c"}, "ETCD_CERT_FILE", "expected both"),
        ("etcd://a", {"ETCD_PASSWORD": "s3cret"}, "ETCD_USERNAME", "expected a name"),
        ("etcds://a", {"ETCD_CA_CERT_FILE": "/none"}, "ETCD_CA_CERT_FILE", "/none is of no use .No such file"),
        (
            "etcds://a",
            {"ETCD_CERT_FILE": "/none", "ETCD_KEY_FILE": "/k"},
            "ETCD_CERT_FILE, ETCD_KEY_FILE",
            "/none, /k is of no use",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_without_repeating_secrets(url, environ, path, problem):
    with pytest.raises(BadInput, match=problem) as caught:
        parse(url, environ)

    assert caught.value.path == path
    assert "s3cret" not in str(caught.value)
