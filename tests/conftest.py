"""What the whole suite shares."""


def pytest_addoption(parser):
    parser.addoption(
        "--update-cases", action="store_true", help="write what passes do now into tests/passes/cases/*.gir"
    )
