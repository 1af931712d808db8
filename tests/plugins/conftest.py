"""Plugins are packages of their own: tests/integration/test_plugins.py installs them, and runs their tests there."""

collect_ignore_glob = ["toy_plugin/*", "dag_plugin/*"]
