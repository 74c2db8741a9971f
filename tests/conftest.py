"""What the whole suite shares."""

import pytest

import graphc as gc


def pytest_addoption(parser):
    parser.addoption(
        "--update-cases", action="store_true", help="write what passes do now into tests/passes/cases/*.gir"
    )


@pytest.fixture(params=gc.backends())
def each_backend(request, monkeypatch):
    """Runs a test once on each backend, as the default of its sessions."""
    monkeypatch.setenv("GRAPHC_BACKEND", request.param)
    return request.param
