import pytest
from shelf import Shelf


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "runs")
