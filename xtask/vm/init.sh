#!/bin/bash
# The first process of the guest's root: what an init does before anybody logs in, then the job, then the end.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# CHECKOUT, NOW, and what the tests are told.
set -a
. /run/job/environment
set +a

mkdir -p /dev/pts /dev/shm /run/lock /run/netns
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
ln -sf /proc/self/fd /dev/fd
for number in 0:stdin 1:stdout 2:stderr; do
  ln -sf "/proc/self/fd/${number%:*}" "/dev/${number#*:}"
done
mkdir -p "$CHECKOUT"
mount -t ext4 /dev/vdc "$CHECKOUT"
# As systemd has it: mounts spread, and a process may have more files than it begins with.
mount --make-rshared /
ulimit -Hn 524288
date --utc --set "@$NOW" >/dev/null
hostname conngate-vm
ip link set lo up
# The laboratory makes its cgroups below its own, which is no host's root.
mkdir /sys/fs/cgroup/tests
echo $$ >/sys/fs/cgroup/tests/cgroup.procs

# The only port there is; its number is the kernel's choice.
ports=(/dev/vport*)
bash /run/job/job.sh </dev/null >"${ports[0]}" 2>&1
sync
# QEMU is told to end instead (-no-reboot).
echo b >/proc/sysrq-trigger
sleep 60
