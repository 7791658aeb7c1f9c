"""Read the kernel's machine-wide counters, do some work, read them again; print the files that reveal the work."""

import glob
import json
import os

PATTERNS = """
/proc/stat /proc/loadavg /proc/meminfo /proc/vmstat /proc/interrupts /proc/softirqs /proc/diskstats /proc/zoneinfo
/proc/buddyinfo /proc/pagetypeinfo /proc/slabinfo /proc/schedstat /proc/timer_list /proc/locks /proc/key-users
/proc/pressure/* /proc/fs/*/*/* /proc/net/* /proc/sys/fs/*-nr /proc/sys/fs/*-state /proc/sys/kernel/ns_last_pid
/proc/sys/kernel/random/entropy_avail /proc/sys/kernel/pty/nr /sys/fs/*/*/* /sys/devices/system/node/node0/*
/sys/devices/virtual/net/lo/statistics/* /sys/devices/virtual/block/*/stat /sys/block/*/stat /sys/kernel/slab/*/objects
/proc/self/schedstat/../../stat /proc/1/schedstat /sys/devices/*/*/*/block/*/stat /sys/devices/*/*/block/*/stat
""".split()


def read():
    contents = {}
    for pattern in PATTERNS:
        for path in glob.glob(pattern)[:200]:
            try:
                with open(path, "rb") as file:
                    contents[path] = file.read(1 << 16)
            except OSError:
                pass
    return contents


before = read()
for i in range(30):
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with open(f"work{i}", "wb") as file:
        file.write(bytes(1 << 18))
        os.fsync(file.fileno())
held = [os.pipe() for _ in range(50)]
after = read()
print(json.dumps(sorted(path for path in before if after.get(path) != before[path])))
