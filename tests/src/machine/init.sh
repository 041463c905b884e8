#!/bin/sh
# The first process of a machine of tests/src/machine: file systems, drivers, then it does what it is told
# over the second serial line. A command comes as a line; back come its output and what it said on standard
# error, in base64 with a line "!" between them, and a line with "=" and its exit code.
export PATH=/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
for module in /modules/*; do
    insmod "$module" || echo "init: $module: not loaded"
done
ip link set lo up
exec 3<>/dev/ttyS1
stty raw -echo <&3
echo ready >&3
while IFS= read -r line <&3; do
    sh -c "$line" >/tmp/out 2>/tmp/err </dev/null 3>&-
    code=$?
    { base64 /tmp/out; echo '!'; base64 /tmp/err; echo "=$code"; } >&3
done
poweroff -f
