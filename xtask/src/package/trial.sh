# The trial of the package: "$0" ROOT MIRROR PACKAGE LATER ARCHIVE, run as root. It says each step before it is
# done, and ends at the first that does not hold.
set -eu
root=$1 mirror=$2 package=$3 later=$4 archive=$5
suite=bookworm

step() { echo "trial: $*" >&2; }
fail() { echo "trial: DOES NOT HOLD: $*" >&2; exit 1; }
is() { "$@" > /dev/null 2>&1 || fail "$*"; }
is_not() { ! "$@" > /dev/null 2>&1 || fail "not $*"; }
# In the root, with process, mount and network namespaces of its own; its last process takes the others along.
inside() {
    unshare --mount --pid --net --ipc --uts --fork --kill-child --root "$root" --mount-proc \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        sh -euc "$1" inside
}
trap 'rm -rf --one-file-system "$root"' EXIT

step "a clean Debian $suite"
# iproute2 for the trial; the two of systemd as its own package is no part of the smallest system.
debootstrap --variant=minbase --include=iproute2,systemd-standalone-sysusers,systemd-standalone-tmpfiles \
    "$suite" "$root" "$mirror" > "$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; fail debootstrap; }
rm -f "$root.log"
cp "$package" "$root/first.deb"
cp "$later" "$root/later.deb"
# What is there before, to be compared with what is there after.
listing() {
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./proc \) \
        -prune -o -printf '%p %y %m %U %G\n' | sort)
}
listing > "$root.before"
trap 'rm -rf --one-file-system "$root" "$root.before" "$root.after"' EXIT

step 'install: program, manual, completions, user, group, folders, services'
began=$(date +%s)
inside 'apt-get install -y ./first.deb 2>&1 && dpkg -s sallyport | grep -qx "Status: install ok installed"' > "$root.log" ||
    { cat "$root.log" >&2; fail install; }
grep -q 'run "sallyport init"' "$root.log" || fail 'the installation says what to do next'
step "installed in $(($(date +%s) - began)) s"
rm -f "$root.log"
inside 'sallyport --version' | grep -q '^sallyport [0-9]' || fail 'sallyport --version'
for file in usr/share/man/man1/sallyport.1.gz usr/share/man/man5/sallyport.toml.5.gz \
    usr/share/bash-completion/completions/sallyport usr/share/zsh/vendor-completions/_sallyport \
    usr/share/fish/vendor_completions.d/sallyport.fish usr/share/sallyport/prometheus/alerts.yml \
    usr/share/sallyport/grafana/sallyport.json usr/share/doc/sallyport/config/prometheus/alerts.yml \
    usr/lib/systemd/system/sallyport-gate.service usr/lib/systemd/system/sallyport-relay.service \
    usr/lib/systemd/system/sallyport-certificate.service usr/lib/systemd/system/sallyport-certificate.timer \
    usr/lib/systemd/system/sallyport-netns.service usr/lib/systemd/system/sallyport-netns-rules.service \
    usr/lib/sallyport/netns.sh usr/share/doc/sallyport/config/netns/netns.conf; do
    is test -s "$root/$file"
done
inside 'getent passwd sallyport | grep -q :/var/lib/sallyport:/usr/sbin/nologin$' || fail 'the user'
is inside 'getent group sallyport-admin'
inside 'stat -c "%a %U %G" /etc/sallyport/secrets' | grep -qx '750 root sallyport' || fail 'the folder of secrets'
inside 'stat -c "%a %U %G" /var/lib/sallyport/secrets' | grep -qx '700 sallyport sallyport' || fail 'the folder of tokens'
is test -x "$root/usr/lib/systemd/system-generators/sallyport-generator"
# There is no configuration, and the package brings none: a gate with somebody else's list guards nothing.
is_not test -e "$root/etc/sallyport/sallyport.toml"
for unit in gate relay; do
    is test -L "$root/etc/systemd/system/multi-user.target.wants/sallyport-$unit.service"
    grep -qx 'ConditionPathExists=/etc/sallyport/sallyport.toml' \
        "$root/usr/lib/systemd/system/sallyport-$unit.service" || fail "the condition of $unit"
done
is test -L "$root/etc/systemd/system/timers.target.wants/sallyport-certificate.timer"

step 'a gate at work through upgrade and removal'
cat > "$root/etc/sallyport/sallyport.toml" << 'TOML'
hostname = "relay.example.net"
postmaster = "mail-ops@example.net"
[gate]
interfaces = ["uplink"]
pins = "/sys/fs/bpf/mail/sallyport"
[[gate.allow]]
cidr = "192.0.2.0/24"
tag = "apps"
[[listener]]
address = "127.0.0.1:2525"
[[policy]]
tag = "apps"
senders = ["@example.net"]
[[route]]
name = "smarthost"
default = true
hosts = ["127.0.0.1:2526"]
TOML
gate='
    say() { echo "trial: $*" >&2; exit 1; }
    mount -t sysfs sysfs /sys
    mount -t bpf bpf /sys/fs/bpf
    ip link set lo up
    ip link add uplink type veth peer name far
    ip link set uplink up
    sallyport gate > /gate.log 2>&1 &
    tries=0
    until ip link show uplink | grep -q xdp; do
        tries=$((tries + 1))
        [ $tries -lt 150 ] || { cat /gate.log >&2; say "the gate did not start"; }
        sleep 0.1
    done
    gone() {
        ip link show uplink | grep -q xdp && { cat /removed.log >&2; say "the filter outlived the package"; }
        [ ! -e /sys/fs/bpf/sallyport ] || say "pins outlived the package"
        [ -z "$(find /sys/fs/bpf/mail -type f 2> /dev/null)" ] || say "pins that were moved outlived the package"
    }
'
inside "$gate"'
    dpkg -i ./later.deb > /dev/null
    dpkg -s sallyport | grep -q "^Version: .*-2$"
    ip link show uplink | grep -q xdp || say "the upgrade opened the host"
    sallyport explain 192.0.2.7 > /dev/null
    apt-get remove -y sallyport > /removed.log 2>&1
    grep -q "open from now on" /removed.log || say "the removal does not say that it opens the host"
    gone
' || fail 'the gate through upgrade and removal'

step 'removed: configuration, state and user stay'
is_not test -e "$root/usr/bin/sallyport"
is test -s "$root/etc/sallyport/sallyport.toml"
is test -d "$root/var/lib/sallyport/gate"
is inside 'getent passwd sallyport'

step 'installed again, after a removal: the services are enabled and not masked'
is inside 'dpkg -i ./later.deb'
is test -L "$root/etc/systemd/system/multi-user.target.wants/sallyport-gate.service"
is_not test -e "$root/etc/systemd/system/sallyport-gate.service"

# From here on they are where a package without a configuration looks for them.
sed -i '/^pins/d' "$root/etc/sallyport/sallyport.toml"

# What an operator and `init` put beside the units: what is theirs goes with the package, what is the operator's stays.
units=$root/etc/systemd/system
for unit in gate relay certificate; do
    mkdir -p "$units/sallyport-$unit.service.d"
    printf '[Service]\n' > "$units/sallyport-$unit.service.d/init.conf"
done
printf '[Service]\n' > "$units/sallyport-relay.service.d/netns.conf"
printf '[Service]\n' > "$units/sallyport-gate.service.d/ours.conf"
mkdir -p "$units/nftables.service.d" "$root/var/lib/systemd/timers"
printf '[Service]\n' > "$units/nftables.service.d/sallyport.conf"
touch "$root/var/lib/systemd/timers/stamp-sallyport-certificate.timer"

step 'purged, with a gate that died and a configuration that is gone: nothing is left, in the kernel neither'
inside "$gate"'
    kill -9 $!
    wait $! || true
    rm /etc/sallyport/sallyport.toml
    ip link show uplink | grep -q xdp || say "the filter did not outlive its process"
    apt-get purge -y sallyport > /removed.log 2>&1
    gone
' || fail 'purge'
is test -s "$units/sallyport-gate.service.d/ours.conf"
rm -r "$units/sallyport-gate.service.d" "$units/nftables.service.d"
rm -f "$root"/first.deb "$root"/later.deb "$root"/gate.log "$root"/removed.log
listing > "$root.after"
# What other programs keep of any change: the copies of passwd and group, apt and the journal of dpkg.
left=$(diff "$root.before" "$root.after" | grep '^[<>]' | grep -vE ' \./(first|later)\.deb | \./etc/(passwd|group|g?shadow|subuid|subgid)-? | \./etc/\.pwd\.lock | \./var/lib/(apt|systemd)(/| )' || true)
[ -z "$left" ] || fail "purge left a difference:
$left"
is_not grep -q sallyport "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow"

step 'where systemd runs: the gate before the relay on the way up, and nothing stopped by an upgrade'
mkdir -p "$root/run/systemd/system" "$root/recorder"
printf '#!/bin/sh\necho "$*" >> /calls\n' > "$root/recorder/deb-systemd-invoke"
printf '#!/bin/sh\n' > "$root/recorder/systemctl"
chmod 755 "$root/recorder/deb-systemd-invoke" "$root/recorder/systemctl"
cp "$package" "$root/first.deb"
cp "$later" "$root/later.deb"
is inside 'export PATH=/recorder:$PATH; dpkg -i first.deb; echo upgrade >> /calls; dpkg -i later.deb
    echo from one without the timer >> /calls
    rm /var/lib/systemd/deb-systemd-helper-enabled/sallyport-certificate.timer.dsh-also; dpkg -i later.deb
    echo remove >> /calls; dpkg -r sallyport; echo again >> /calls; dpkg -i later.deb
    echo upgrade >> /calls; dpkg -i later.deb; echo away >> /calls; dpkg -r sallyport; dpkg -P sallyport'
cat > "$root/expected" << 'CALLS'
start sallyport-gate.service
start sallyport-relay.service
start sallyport-certificate.timer
upgrade
try-restart sallyport-gate.service
try-restart sallyport-relay.service
try-restart sallyport-certificate.timer
from one without the timer
try-restart sallyport-gate.service
try-restart sallyport-relay.service
start sallyport-certificate.timer
remove
stop sallyport-certificate.timer sallyport-certificate.service
stop sallyport-relay.service
stop sallyport-gate.service
stop sallyport-netns-rules.service sallyport-netns.service
again
start sallyport-gate.service
start sallyport-relay.service
start sallyport-certificate.timer
upgrade
try-restart sallyport-gate.service
try-restart sallyport-relay.service
try-restart sallyport-certificate.timer
away
stop sallyport-certificate.timer sallyport-certificate.service
stop sallyport-relay.service
stop sallyport-gate.service
stop sallyport-netns-rules.service sallyport-netns.service
CALLS
diff "$root/expected" "$root/calls" >&2 || fail 'the order of the services'
rm -rf "$root/run/systemd" "$root/recorder"

step 'the archive, in a root without package manager'
mkdir "$root/archive"
tar -xJf "$archive" -C "$root/archive" --strip-components=1
copy=$(sed -n 's|^sudo \(cp .*\) usr/\. /usr/ .*|\1|p' "$root/archive/INSTALL.md")
[ -n "$copy" ] || fail 'INSTALL.md says how the files are copied'
$copy "$root/archive/usr/." "$root/usr/"
# Again, over a program that runs, by somebody whose files are for nobody else.
cp --remove-destination "$(command -v sleep)" "$root/usr/bin/sallyport"
"$root/usr/bin/sallyport" 300 &
# Until it runs: before that it would be the new program that is begun, while it is written.
tries=0
until [ "$(readlink "/proc/$!/exe")" = "$root/usr/bin/sallyport" ]; do
    tries=$((tries + 1))
    [ $tries -lt 500 ] || fail 'a program that runs'
    sleep 0.01
done
(umask 077 && $copy "$root/archive/usr/." "$root/usr/") || fail 'the archive is not copied over a program that runs'
kill $!
[ "$(stat -c %a "$root/usr/bin/sallyport")" = 755 ] || fail 'who runs the relay cannot run the program'
inside 'sallyport --version && systemd-sysusers sallyport.conf && systemd-tmpfiles --create sallyport.conf && getent passwd sallyport' > /dev/null ||
    fail 'the archive'

newer=trixie
step "a clean Debian $newer: installed, and how exposed its systemd calls the units"
rm -rf --one-file-system "$root"
debootstrap --variant=minbase --include=systemd "$newer" "$root" "$mirror" > "$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; fail debootstrap; }
rm -f "$root.log"
cp "$package" "$root/first.deb"
inside 'apt-get install -y ./first.deb 2>&1
    sallyport --version' > "$root.log" || { cat "$root.log" >&2; fail install; }
rm -f "$root.log"
# With what the generator asks for on this host's kernel beside them; in tenths.
inside 'mkdir /asked
    cp /usr/lib/systemd/system/sallyport-*.service /asked
    /usr/lib/systemd/system-generators/sallyport-generator /asked /asked /asked
    relay=14
    [ ! -e /asked/sallyport-relay.service.d ] || relay=12
    for limit in gate:30 relay:$relay certificate:22; do
        unit=sallyport-${limit%:*}.service
        echo "trial: at most ${limit#*:} tenths of $unit" >&2
        systemd-analyze security --offline=true --no-pager --threshold="${limit#*:}" "/asked/$unit" > /said ||
            { tail -n 1 /said >&2; exit 1; }
        sed -n "s/.*Overall exposure level for/trial: exposure of/p" /said >&2
        grep -q "Overall exposure level for $unit" /said
    done' || fail 'a unit is more exposed than it must be'

step 'all of it holds'
