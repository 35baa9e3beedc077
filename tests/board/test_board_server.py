"""The board over HTTP, byte by byte: what it answers, and everything it refuses."""

import json

import pytest
from shelf import listening, run_id

from kdlab.board.server import make_app

RUN = run_id(0)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A store and reports with a secret beside them, and with files that are nobody's business."""
    from shelf import Shelf

    here = tmp_path_factory.mktemp("served")
    shelf = Shelf(here / "runs")
    shelf.plan(count=3)
    shelf.done(0)
    shelf.begin(1)
    folder = shelf.store.folder(RUN)
    (folder / "log.txt").write_text("said\n")
    for name in ("weights.safetensors", "checkpoint.ckpt", ".secret", "predictions.json"):
        (folder / name).write_text("secret")
    (here / "secret.txt").write_text("secret")
    (folder / "predictions").mkdir()
    (folder / "predictions" / "log.txt").write_text("secret")
    outside = here / "outside"
    outside.mkdir()
    for name in ("log.txt", "record.json", "README.md", "records.jsonl"):
        (outside / name).write_text("secret")
    linked = shelf.store.folder(run_id(1)) / "log.txt"
    linked.symlink_to(here / "secret.txt")
    (here / "runs" / run_id(5)).symlink_to(outside)
    report = here / "reports" / "deep" / "er"
    for name, text in {
        "README.md": "# words",
        "records.jsonl": '{"kind": "study", "name": "deep/er", "question": "Old?"}\n',
        "index.html": "<!doctype html><script>1</script>",
        "tables/results.csv": "a,b",
        "figures/gain.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "tables/.hidden.md": "secret",
        "tables/notes.txt": "secret",
        "notes.md": "secret",
        "figures/README": "secret",
    }.items():
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text(text)
    (report / "figures" / "out.svg").symlink_to(here / "secret.txt")
    (here / "reports" / "linked").symlink_to(outside)
    (here / "reports" / "plain").mkdir()
    (here / "reports" / "plain" / "README.md").write_text("secret")  # no report: nobody made records of it
    (here / "reports" / "LOG.md").write_text("secret")
    return here


@pytest.fixture(scope="module")
def ask(places):
    with listening(make_app(places / "runs", places / "reports")) as found:
        yield found


# --- what it answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/study/question", "/study/nobody/knows"])
def test_pages_are_the_same_shell(ask, path):
    status, headers, body = ask(path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"/assets/board.js" in body


def test_data(ask):
    assert "no study 'qestion'" in ask.json("/api/study/qestion")["waiting"]
    assert [study["name"] for study in ask.json("/api/studies")["studies"]] == ["deep/er", "question"]
    assert ask.json("/api/study/question")["counts"]["finished"] == 1
    assert ask.json("/api/members/question?state=finished")["rows"][0]["id"] == RUN
    assert ask.json(f"/api/run/{RUN}")["log"] == "said\n"
    found = ask.json(f"/api/curves?key=validation/accuracy&run={RUN}&run={run_id(2)}")
    assert (found["keys"], found["curves"][RUN]) == (["validation/accuracy"], [[100, 0.4]])
    assert found["curves"][run_id(2)] == []


@pytest.mark.parametrize("path", ["/api/studies", "/api/study/question", "/assets/board.js", "/assets/echarts.js"])
def test_what_a_browser_has_already_is_not_sent_again(ask, path):
    _, headers, body = ask(path)
    status, again, nothing = ask(path, if_none_match=headers["etag"])
    assert (status, nothing, again["etag"]) == (304, b"", headers["etag"])
    assert ask(path, if_none_match='"other"')[2] == body


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        (f"/runs/{RUN}/record.json", "application/json", '"run_id"'),
        (f"/runs/{RUN}/log.txt", "text/plain", "said"),
        (f"/runs/{RUN}/history.jsonl", "text/plain", "validation/accuracy"),
        (f"/runs/{RUN}/config.yaml", "text/plain", "steps: 100"),
        ("/reports/deep/er/README.md", "text/plain", "# words"),
        ("/reports/deep/er/records.jsonl", "text/plain", "Old?"),
        ("/reports/deep/er/tables/results.csv", "text/plain", "a,b"),
        ("/reports/deep/er/figures/gain.svg", "image/svg+xml", "<svg"),
        ("/reports/deep/er/index.html", "text/html", "script"),
        ("/page/deep/er", "text/html", "script"),
    ],
)
def test_files(ask, path, kind, text):
    status, headers, body = ask(path)
    assert (status, headers["content-type"].split(";")[0]) == (200, kind)
    assert text in body.decode()
    assert "sandbox" in headers["content-security-policy"], "a file of a report has no say over the board"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/members/qestion", "no study 'qestion'"),
        ("/api/members/question?state=odd", "state = 'odd'; allowed: finished"),
        ("/api/members/question?page=-1", "page = '-1'"),
        ("/api/members/question?page=%C2%B2", "page = '\u00b2'"),
        ("/api/run/xyz", "run = 'xyz'"),
        (f"/api/run/{'0' * 16}", "no study of the store lists this run"),
        ("/api/curves?run=..%2F..&key=x", "run = '../..'"),
        ("/page/qestion", "no study"),
        ("/api/results/qestion", "no study"),
    ],
)
def test_mistakes_are_told(ask, path, said):
    status, _, body = ask(path)
    assert status == 404
    assert said in json.loads(body)["error"]


# --- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [None, "evil.example", "127.0.0.1.evil.example:80", "[::2]"])
@pytest.mark.parametrize("path", ["/", "/api/studies", f"/runs/{RUN}/record.json", "/assets/board.js", "/nowhere"])
def test_a_foreign_host_gets_nothing(ask, host, path):
    status, _, body = ask(path, host=host)
    assert status == 400
    assert b"question" not in body


def test_its_names(ask):
    for host in ("localhost", f"localhost:{ask.port}", "[::1]:80", "127.0.0.1"):
        assert ask("/api/studies", host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/api/studies", f"/runs/{RUN}/record.json"])
def test_it_only_reads(ask, method, path):
    status, headers, _ = ask(path, method=method)
    assert status == 405
    assert not any(name.startswith("access-control") for name in headers)


def test_head_has_no_body(ask):
    status, headers, body = ask("/api/studies", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:{port}"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"},
    ],
)
@pytest.mark.parametrize("path", ["/api/studies", f"/runs/{RUN}/record.json", "/reports/deep/er/README.md"])
def test_pages_of_other_sites_get_nothing(ask, path, headers):
    given = {name: value.format(port=ask.port) for name, value in headers.items()}
    assert ask(path, **given)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:{port}"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
    ],
)
def test_its_own_pages_and_links_get_an_answer(ask, headers):
    given = {name: value.format(port=ask.port) for name, value in headers.items()}
    assert ask("/api/studies", **given)[0] == 200


@pytest.mark.parametrize("path", ["/", "/api/studies", "/assets/board.js", f"/runs/{RUN}/log.txt", "/nowhere"])
def test_every_answer_says_what_a_browser_may_do_with_it(ask, path):
    _, headers, _ = ask(path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers or "uvicorn" in headers["server"]
    assert not any(name.startswith("access-control") for name in headers)
    assert "'unsafe-inline'" not in headers["content-security-policy"].split("style-src")[0]


UP = ("..", "%2e%2e", "%2E.", ".%2e", "..%2f", "%2e%2e%2f", "..%5c", "..\\", "%252e%252e", "..%00", "....//")


@pytest.mark.parametrize("up", UP)
@pytest.mark.parametrize(
    "form",
    [
        "/runs/{up}/secret.txt",
        "/runs/{up}/{up}/secret.txt",
        f"/runs/{RUN}/{{up}}/{{up}}/secret.txt",
        f"/runs/{RUN}/{{up}}secret.txt",
        f"/runs/{RUN}{{up}}/record.json",
        "/reports/{up}/secret.txt",
        "/reports/deep/er/{up}/{up}/{up}/outside/README.md",
        "/reports/deep/er/tables/{up}/{up}/{up}/{up}/outside/README.md",
        "/reports/{up}/outside/README.md",
        "/assets/{up}/server.py",
        "/page/{up}/outside",
    ],
)
def test_no_way_out_of_the_roots(ask, form, up):
    status, _, body = ask(form.format(up=up))
    assert status in (400, 404)
    assert b"secret" not in body.replace(b"secret.txt", b"")


@pytest.mark.parametrize(
    "path",
    [
        f"/runs/{RUN}/weights.safetensors",
        f"/runs/{RUN}/checkpoint.ckpt",
        f"/runs/{RUN}/.secret",
        f"/runs/{RUN}/predictions.json",
        f"/runs/{RUN}/predictions/log.txt",
        f"/runs/{RUN}/log.txt%00.md",
        f"/runs/{RUN}/LOG.TXT",
        f"/runs/{RUN}/",
        f"/runs/{RUN.upper()}/log.txt",
        f"/runs/{run_id(1)}/log.txt",  # a link out of the store
        f"/runs/{run_id(5)}/log.txt",  # a run folder that is one
        f"/runs/{run_id(5)}/record.json",
        "/runs/studies/question.jsonl",
        "/runs//etc/passwd",
        "//etc/passwd",
        "/reports/deep/er/figures/out.svg",
        "/reports/linked/README.md",
        "/reports/plain/README.md",
        "/reports/LOG.md",
        "/reports//etc/passwd",
        "/reports/deep/er/tables/.hidden.md",
        "/reports/deep/er/tables/notes.txt",
        "/reports/deep/er/notes.md",
        "/reports/deep/er/figures/README",
        "/reports/deep/er/figures/",
        "/reports/deep/er",
        "/reports/deep/er/tables%5cresults.csv",
        "/assets/server.py",
        "/assets/board.html",
        "/assets/base.css",
        "/docs",
        "/openapi.json",
    ],
)
def test_what_is_not_meant_for_readers_is_not_there(ask, path):
    status, _, body = ask(path)
    assert status == 404
    assert b"secret" not in body
    assert b"root:" not in body


def test_results_so_far(places, ask):
    found = ask.json("/api/results/question")
    assert found["failed"] == 0
    (table,) = found["tables"]
    assert table["data"] == "tiny"
    assert table["columns"][:2] == ["Setting", "n"]


def test_a_page_is_made_of_what_there_is(places, ask):
    status, headers, body = ask("/page/question")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"Why?" in body
    assert not (places / "reports" / "question").exists(), "it is made in memory"
