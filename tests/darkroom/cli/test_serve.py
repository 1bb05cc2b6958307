"""./darkroom serve: what it refuses before it listens, and what it says where the model or the port is not there."""

import socket
from pathlib import Path

import pytest

from darkroom.base.errors import InputError, RunError
from darkroom.cli import serve
from darkroom.serving.limits import check_host
from darkroom.serving.server import Server

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(serve.TOKEN, raising=False)
    (tmp_path / "token.txt").write_text("0123456789abcdef\n")
    (tmp_path / "short.txt").write_text("0123\n")
    (tmp_path / "letters.txt").write_text("0123456789abcdefü\n", encoding="utf-8")
    (tmp_path / "file").touch()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port: is 70000, but should be 0 to 65535; give another number"),
        (["--timeout", "0"], "--timeout: is 0, but should be 1 to 3600; give another number"),
        (["--nearest", "13"], "--nearest: is 13, but should be 0 to 12; give another number"),
        (["--max-pixels", "1000000000"], r"--max-pixels: is 1000000000, more than predict\.max_pixels \(100000000\); raise that"),
        (["--model", "a", "--model", "a"], "--model: names a, a; name one model, or two different ones"),
        (["--model", "a", "--model", "b", "--model", "c"], "--model: names a, b, c; name one model, or two different ones"),
        (["--collect", "file"], "--collect: file is a file; name a folder"),
        (["--collect", "no/folder"], "--collect: the folder no does not exist; create it first"),
        (["--host", "0.0.0.0"], r'--host: 0\.0\.0\.0 can be reached from other machines, so a token is needed; run "python -c'),
        (["--host", "::"], r"--host: :: can be reached from other machines"),
        (["--host", "photos"], r"--host: photos can be reached from other machines"),
        (["--host", "no.such.host", "--token-file", "token.txt"], r"--host: no\.such\.host is no address of this machine"),
        (["--token-file", "none.txt"], r"--token-file: none\.txt cannot be read \(No such file or directory\); name a file"),
        (["--token-file", "short.txt"], '--token-file: is no token of 16 or more characters on one line; run "python -c'),
        (
            ["--token-file", "letters.txt"],
            '--token-file: holds letters beyond ASCII, which the header of a request cannot; run "',
        ),
        (["--allow-host", "http://x/"], "--allow-host: 'http://x/' is no name by which a request can ask; write x$"),
        (["--allow-host", "x:8000"], "--allow-host: 'x:8000' is no name by which a request can ask; write x$"),
        (["--allow-host", "bücher.de"], r"--allow-host: 'bücher.de' is no name .*; write xn--bcher-kva\.de$"),
        (
            ["--allow-host", "*.example.com"],
            r"--allow-host: '\*\.example\.com' is no name .*; write a whole name, such as photos",
        ),
        (["--allow-host", ""], "--allow-host: '' is no name .*; write a whole name"),
        (["--allow-host", "a b"], "--allow-host: 'a b' is no name .*; write a whole name"),
        (["--token", "0123456789abcdef"], r"--token: unknown flag; did you mean '--token-file'\?"),
        (["--port", "0", "--model", "no-such-model"], "--model: no-such-model is no folder or file, and "),
    ],
)
def test_one_line_says_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        serve.main(arguments)


def test_the_token_of_the_environment_is_checked_and_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(serve.TOKEN, "short")
    with pytest.raises(InputError, match="DARKROOM_TOKEN: is no token of 16 or more characters"):
        serve.main([])
    found: dict[str, object] = {}

    class Stopped(Server):
        def __init__(self, *_: object, token: str | None, hosts: tuple[str, ...], **__: object):
            found.update(token=token, hosts=hosts)

        def serve_on(self, listening: socket.socket, address: str) -> None:
            listening.close()
            found["address"] = address

    monkeypatch.setattr("darkroom.serving.server.Server", Stopped)
    monkeypatch.setenv(serve.TOKEN, "0123456789abcdef")
    serve.main(["--host", "0.0.0.0", "--port", "0", "--allow-host", "photos.example.com"])
    assert found["token"] == "0123456789abcdef"
    assert found["hosts"] == ("photos.example.com", "0.0.0.0")
    assert str(found["address"]).startswith("http://0.0.0.0:")
    assert serve.TOKEN not in serve.os.environ


@pytest.mark.parametrize("name", ["photos.example.com", "Photos", "a_b-c.local", "10.0.0.5", "::1", "[::1]", "example.com."])
def test_names_by_which_requests_can_ask(name: str) -> None:
    check_host(name)


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port: 127\.0\.0\.1:{port} cannot be used \(address already in use\); name"):
            serve.main(["--port", str(port)])


def test_missing_packages_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name in ("uvicorn", "python_multipart") else name)
    line = "serve: needs uvicorn, python-multipart; run 'pip install -c requirements-dev.txt uvicorn python-multipart'"
    with pytest.raises(RunError, match=line):
        serve.main([])
