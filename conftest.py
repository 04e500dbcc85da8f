"""What the project's own tests need from pytest; plugins can be named at the top level only."""

pytest_plugins = ["pytester"]
