"""What is free, read from trees of files as the kernel has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.encoder.free_memory import free_memory, gigabytes, machine_memory

GB = 1 << 30


def system(root: Path, files: dict[str, str], *, total: int = 64 * GB, free: int = 32 * GB) -> Path:
    meminfo = f"MemTotal: {total >> 10} kB\nMemFree: 1 kB\nMemAvailable:   {free >> 10} kB\nSwapFree: 0 kB\n"
    for name, text in ({"proc/meminfo": meminfo} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_what_the_kernel_estimates(tmp_path: Path) -> None:
    root = system(tmp_path, {"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n"})
    assert free_memory(root=root) == 32 * GB
    assert machine_memory(root) == 64 * GB


def test_a_limit_of_version_2_counts_page_cache_as_room(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/box/job"
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/box/job\n",
            f"{group}/memory.max": f"{8 * GB}\n",
            f"{group}/memory.current": f"{7 * GB}\n",
            f"{group}/memory.stat": f"anon 1\ninactive_file {5 * GB}\n",
        },
    )
    assert free_memory(root=root) == 6 * GB
    assert machine_memory(root) == 8 * GB


def test_the_narrowest_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/box/job\n"}
    for place, limit in (("box", 2), ("box/job", 20)):
        files |= {
            f"sys/fs/cgroup/{place}/memory.max": f"{limit * GB}",
            f"sys/fs/cgroup/{place}/memory.current": f"{GB}",
        }
    assert free_memory(root=system(tmp_path, files)) == GB


@pytest.mark.parametrize("path", ["/docker/abc", "/"])
def test_a_limit_of_version_1_also_where_the_group_is_the_mount(tmp_path: Path, path: str) -> None:
    mount = "sys/fs/cgroup/memory"  # a container's own group lies at the mount, under whatever path
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": f"5:cpu:/x\n4:memory:{path}\n",
            f"{mount}/memory.limit_in_bytes": f"{4 * GB}",
            f"{mount}/memory.usage_in_bytes": f"{3 * GB}",
            f"{mount}/memory.stat": f"total_inactive_file {GB}\n",
        },
    )
    assert free_memory(root=root) == 2 * GB


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "6422528",
    }
    assert free_memory(root=system(tmp_path, files)) == 32 * GB


def test_more_used_than_the_limit_is_no_room(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{GB}",
        "sys/fs/cgroup/memory.current": f"{2 * GB}",
    }
    assert free_memory(root=system(tmp_path, files)) == 0


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert free_memory(root=tmp_path) is None


def test_this_machine_has_some() -> None:
    found, whole = free_memory(), machine_memory()
    assert found is not None and whole is not None
    assert 0 <= found <= whole


@pytest.mark.parametrize(("size", "text"), [(16_060_000_000, "16.1 GB"), (99e6, "0.1 GB"), (12_345_678, "0.012 GB")])
def test_gigabytes(size: float, text: str) -> None:
    assert gigabytes(size) == text
