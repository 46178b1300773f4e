#!/bin/busybox sh
# The guest's first process: loads what the disks need, puts the root together and hands over to it.
/bin/busybox mkdir -p /proc /sys /dev /guest
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do
  insmod "$module" || echo "conngate-vm: cannot load $module"
done
# The root, the kernel's modules, the checkout: in the order in which QEMU is told of them.
for disk in vda vdb vdc; do
  tries=0
  until [ -b "/dev/$disk" ] || [ "$tries" -ge 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
done
if ! mount -t ext4 /dev/vda /guest || ! mount -t ext4 -o ro /dev/vdb /guest/lib/modules; then
  echo 'conngate-vm: the disks cannot be mounted'
  reboot -f
fi
mount -t tmpfs -o mode=755 run /guest/run
cp -r /job /guest/run/job
for directory in dev proc sys; do
  mount --move "/$directory" "/guest/$directory"
done
exec switch_root /guest /bin/bash /run/job/init.sh
