from __future__ import annotations

import pytest

from cloudnet.lab.clouds.contract import Contract, Endpoint

ROUTE = Endpoint("routes.get", "GET", "/projects/{project}/global/routes/{route}")
COUNT = Endpoint("routes.count", "GET", "/projects/{project}/global/routes/count")
INSERT = Endpoint("routes.insert", "POST", "/projects/{project}/global/routes")


@pytest.mark.parametrize("endpoints", [(ROUTE, COUNT, INSERT), (INSERT, COUNT, ROUTE)])
def test_a_request_is_the_call_whose_template_fits_with_the_fewest_variables(endpoints):
    contract = Contract(endpoints)

    assert contract.match("GET", "/projects/p/global/routes/r%20b") == (ROUTE, {"project": "p", "route": "r b"})
    assert contract.match("GET", "/projects/p/global/routes/count") == (COUNT, {"project": "p"})
    assert contract.match("POST", "/projects/p/global/routes") == (INSERT, {"project": "p"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/projects/p/global/routes"),
        ("GET", "/projects/p/global/routes/a/b"),
        ("GET", "/projects//global/routes/a"),
    ],
)
def test_what_the_description_does_not_have_is_no_call(method, path):
    assert Contract([ROUTE, COUNT, INSERT]).match(method, path) is None


def test_case_matters_unless_it_is_to_be_ignored():
    assert Contract([ROUTE]).match("GET", "/Projects/p/global/routes/r") is None
    assert Contract([ROUTE], ignore_case=True).match("GET", "/Projects/P/global/ROUTES/r") == (
        ROUTE,
        {"project": "P", "route": "r"},
    )
