import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.cli import redact

PLANTED = "s3cr3t-Val/ue+x=="


@pytest.mark.parametrize(
    "line",
    [
        "password=%s",
        "ETCD_PASSWORD: %s",
        'level=info msg="x" token="%s" user=me',
        "{'api_key': '%s', 'x': 1}",
        '"client-key-data": "%s"',
        "postgres://me:%s@db/x",
        "Authorization: Bearer %s",
        "authorization=Basic %s",
        "GET /blob?sv=1&sig=%s HTTP/1.1",
        "k8s_auth_token: '%s'",
        "aws_secret_access_key = %s",
        "-----BEGIN RSA PRIVATE KEY-----\n%s\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n%s",
        'passphrase="a \\" %s"',
    ],
)
def test_a_secret_is_taken_out_whatever_it_stands_in(line):
    found = redact.text(line % PLANTED)

    assert PLANTED not in found
    assert redact.GONE in found


@pytest.mark.parametrize("token", ["eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ", "AKIAIOSFODNN7EXAMPLE"])
def test_a_token_is_known_by_its_look(token):
    assert token not in redact.text(f"saw {token} there")


@pytest.mark.parametrize(
    "line",
    [
        "default via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.7 metric 1024",
        "path changed block=10.65.1.0/26 node=n1 before=vxlan after=native reason=proven detail=''",
        "etcd://10.0.0.1:2379,10.0.0.2:2379",
        "2001:db8::1 dev vxlan.calico lladdr 66:f9:37:c3:7e:94 PERMANENT",
        "projectcalico.org/orchestrator == 'k8s'",
    ],
)
def test_what_is_no_secret_stays(line):
    assert redact.text(line) == line


@given(st.recursive(st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)))
def test_whatever_is_called_a_secret_is_gone_at_any_depth(tree):
    found = redact.value({"outer": [{"clientSecret": {"in": [PLANTED, tree]}}], "tree": tree})

    assert PLANTED not in str(found)
    assert found["outer"][0]["clientSecret"] == redact.GONE
