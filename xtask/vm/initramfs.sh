#!/bin/busybox sh
# The guest's first process: loads what the disks need, puts the root together and hands over to it.
/bin/busybox mkdir -p /proc /sys /dev /root
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
if ! mount -t ext4 /dev/vda /root || ! mount -t ext4 -o ro /dev/vdb /root/lib/modules; then
  echo 'conngate-vm: the disks cannot be mounted'
  reboot -f
fi
mount -t tmpfs -o mode=755 run /root/run
cp -r /job /root/run/job
for directory in dev proc sys; do
  mount --move "/$directory" "/root/$directory"
done
exec switch_root /root /bin/bash /run/job/init.sh
