"""Quotas and how often they stopped somebody, as both versions of control groups tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler_service.jobs.host import ControlGroup


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".", 1)).write_text(text)


def group(root: Path, membership: str) -> ControlGroup:
    (root / "membership").write_text(membership)
    return ControlGroup.of_this_process(root, root / "membership")


def test_version_2_counts_the_tightest_of_all_groups_around(tmp_path: Path) -> None:
    write(tmp_path, cpu__stat="usage_usec 5\n")
    write(tmp_path / "outer", cpu__max="150000 100000\n", cpu__stat="nr_periods 9\nnr_throttled 2\n")
    write(tmp_path / "outer" / "inner", cpu__max="400000 100000\n", cpu__stat="nr_throttled 5\n")
    found = group(tmp_path, "0::/outer/inner\n")
    assert (found.quota_cores(), found.throttled()) == (1.5, 7)


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, controllers: str) -> None:
    write(tmp_path / controllers, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(
        tmp_path / controllers / "box", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n", cpu__stat="nr_throttled 3\n"
    )
    found = group(tmp_path, f"3:cpuset:/elsewhere\n1:{controllers}:/box\n0::/\n")
    assert (found.quota_cores(), found.throttled()) == (0.5, 3)


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    write(tmp_path, cpu__max="200000 100000\n", cpu__stat="nr_throttled 0\n")
    found = group(tmp_path, "0::/docker/0123\n")
    assert (found.quota_cores(), found.throttled()) == (2.0, 0)


def test_no_bound_and_no_groups(tmp_path: Path) -> None:
    write(tmp_path / "free", cpu__max="max 100000\n")
    assert group(tmp_path, "0::/free\n").quota_cores() is None
    assert ControlGroup.of_this_process(tmp_path / "none", tmp_path / "none").folders == ()
    assert ControlGroup(()).throttled() is None
