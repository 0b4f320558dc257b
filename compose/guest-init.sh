#!/bin/sh
# Process 1 of the guest. Mounts what any Debian machine has, runs the program as an ordinary user may: root only in
# namespaces of its own. The program speaks on the second serial port, the kernel on the first. No module is loaded
# here: the kernel brings what is asked of it, as on any Debian machine.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
unshare --user --map-root-user --net --mount --pid --fork --mount-proc sh -c \
  'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec node /guest/program.js' >/dev/ttyS1 2>/dev/ttyS0
echo "{\"ended\":$?}" >/dev/ttyS1
poweroff -f
