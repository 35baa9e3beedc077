import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch, cache):
    """An empty folder to stand in, and a cache of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDLAB_CACHE_DIR", str(cache))
    return tmp_path
