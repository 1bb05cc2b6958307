"""Who may ask: names of the server, the token, pages of other sites; and what every answer carries."""

import base64

import numpy as np
import pytest
from serving_fixtures import Start, encoded

PNG = encoded(np.zeros((8, 8), np.uint8))
TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("10.0.0.7:8000", 200),  # nobody can let an address of numbers lead elsewhere
        ("photos.example.com", 200),
        ("PHOTOS.example.com:443", 200),
        ("evil.example.com", 421),
        ("photos.example.com.evil.com", 421),
        ("127.0.0.1.evil.com", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_a_name_that_is_not_the_servers_is_refused(start: Start, host: str, status: int) -> None:
    response = start(hosts=("photos.example.com",)).get("/health", headers={"host": host})
    assert response.status_code == status
    assert status == 200 or response.json()["limit"] == "host"


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (basic(f"anybody:{TOKEN}"), 200),
        (f"Bearer {TOKEN}0", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (basic(f"{TOKEN}:"), 401),
        ("Basic !", 401),
        ("Basic /w==", 401),
        (f"Digest {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        (None, 401),
    ],
)
def test_the_token_is_needed_for_all_but_health(start: Start, given: str | None, status: int) -> None:
    client = start(token=TOKEN)
    headers = {} if given is None else {"authorization": given}
    for response in (client.post("/predict", files={"file": PNG}, headers=headers), client.get("/", headers=headers)):
        assert response.status_code == status
        if status == 401:
            assert response.json()["limit"] == "token"
            assert response.headers["www-authenticate"].startswith("Basic realm=")
            assert TOKEN not in response.text
    assert client.get("/health").status_code == 200
    assert client.get("/metrics", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "https://evil.com"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_what_another_sites_page_sends_is_refused(start: Start, headers: dict[str, str], status: int) -> None:
    client = start()
    response = client.post("/predict", files={"file": PNG}, headers=headers)
    assert response.status_code == status
    assert status == 200 or response.json()["limit"] == "origin"
    assert client.get("/", headers=headers).status_code == 200  # a link may lead here


def test_every_answer_has_the_headers_and_none_allows_other_sites(start: Start) -> None:
    client = start()
    for response in (client.get("/"), client.get("/nothing"), client.get("/health", headers={"host": "evil.com"})):
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] == "no-store"


def test_once_it_stops_new_requests_are_refused_and_connections_closed(start: Start) -> None:
    client = start()
    assert "connection" not in client.get("/health").headers
    client.server.guard.stopping = True
    response = client.get("/health")
    assert (response.status_code, response.json()["limit"]) == (503, "stopping")
    assert (response.headers["connection"], response.headers["retry-after"]) == ("close", "1")
