# The relay in a network namespace of its own, joined to the host by a wire (veth(4)): docs/netns.md. The units
# sallyport-netns and sallyport-netns-rules call this as root by /bin/sh:
#
#   up      makes the namespace "sallyport", and the wire: "sallyport0" on the host, "gate0" inside; and before it is
#           up the tables "sallyport_wall" of nftables, which keep the relay from the host, whatever comes after
#   open    as "rules", then lets the host forward
#   rules   writes the tables "sallyport", which translate addresses, and the wall (both anew)
#   walls   writes the wall anew
#   shut    takes the tables "sallyport" away, and forwarding if it came by "open"; the wall stays
#   down    removes wire and namespace, then the wall
set -eu
# What has begun comes to its end, in milliseconds: a reload that is ended by a restart would count as a failure, and
# the restart be given up.
trap '' TERM

. "${SALLYPORT_NETNS_CONF:-/etc/sallyport/netns.conf}"

FORWARD4=/proc/sys/net/ipv4/ip_forward
FORWARD6=/proc/sys/net/ipv6/conf/all/forwarding
REDIRECTS=/proc/sys/net/ipv4/conf/all/accept_redirects
# Each is there while it was us who let the host forward by that family, and holds what is to be put back then.
OURS4=/run/sallyport-netns/forwards4
OURS6=/run/sallyport-netns/forwards6

fail() {
    echo "sallyport-netns: $*" >&2
    exit 1
}

# Settings that are not there would make tables that let everything pass.
settings() {
    : "${HOST4=}" "${HOST6=}"
    [ -n "$HOST4$HOST6" ] || fail "neither HOST4 nor HOST6 of netns.conf names an address"
    needed=PORTS
    [ -z "$HOST4" ] || needed="$needed OUTER4 INNER4"
    [ -z "$HOST6" ] || needed="$needed OUTER6 INNER6"
    for name in $needed; do
        eval ": \"\${$name=}\""
        eval "[ -n \"\$$name\" ]" || fail "netns.conf does not say $name"
    done
    : "${OUTER4=}" "${INNER4=}" "${OUTER6=}" "${INNER6=}"
    case ${ROUTER-} in
    yes | no) ;;
    *) fail "netns.conf: ROUTER is yes or no" ;;
    esac
    command -v nft > /dev/null || fail "there is no nft: install nftables"
}

inside() {
    ip -netns sallyport "$@"
}

up() {
    ip netns add sallyport
    ip link add sallyport0 type veth peer name gate0 netns sallyport
    walls
    inside link set lo up
    if [ -n "$HOST4" ]; then
        ip address add "$OUTER4/30" dev sallyport0
        inside address add "$INNER4/30" dev gate0
    fi
    # Nobody else is on this wire: no address can be there twice.
    if [ -n "$HOST6" ]; then
        ip address add "$OUTER6/126" dev sallyport0 nodad
        inside address add "$INNER6/126" dev gate0 nodad
    else
        # The kernel would give both ends one of fe80::/10.
        ip link set sallyport0 addrgenmode none
        inside link set gate0 addrgenmode none
        [ ! -e $FORWARD6 ] || echo 1 > /proc/sys/net/ipv6/conf/sallyport0/disable_ipv6
    fi
    ip link set sallyport0 up
    inside link set gate0 up
    [ -z "$HOST4" ] || inside route add default via "$OUTER4"
    [ -z "$HOST6" ] || inside -6 route add default via "$OUTER6"
}

# Also what is left of an "up" that failed, and of rules that could not be taken away by their own unit. Whatever
# cannot be taken away, the rest is.
down() {
    left=0
    shut || left=1
    ! ip link show dev sallyport0 > /dev/null 2>&1 || ip link delete sallyport0 || left=1
    [ ! -e /run/netns/sallyport ] || ip netns delete sallyport || left=1
    forget sallyport_wall || left=1
    return $left
}

# forget TABLE, of both families. Making it first: deleting what is not there is an error.
forget() {
    failed=0
    for family in ip ip6; do
        # A kernel without IPv6 has no such table either.
        [ $family = ip ] || [ -e $FORWARD6 ] || continue
        printf 'table %s %s\ndelete table %s %s\n' $family "$1" $family "$1" | nft -f - || failed=1
    done
    return $failed
}

# A host that forwards already must be said to be a router: may_forward SWITCH OURS.
may_forward() {
    if [ "$ROUTER" = no ] && [ ! -e "$2" ] && [ "$(cat "$1")" != 0 ]; then
        fail "this host forwards already ($1): if that is meant, say ROUTER=yes in netns.conf"
    fi
}

open() {
    # Also where the host is then refused: the wall may have been flushed.
    raise
    [ -z "$HOST4" ] || may_forward $FORWARD4 $OURS4
    [ -z "$HOST6" ] || may_forward $FORWARD6 $OURS6
    # Forwarding comes last: whatever fails before leaves the host as it was.
    rules
    mkdir -p "${OURS4%/*}"
    if [ -n "$HOST4" ]; then
        if [ "$ROUTER" = no ]; then
            [ -e $OURS4 ] || cat $REDIRECTS > $OURS4
            lead -4 "$INNER4"
        fi
        echo 1 > $FORWARD4
    fi
    if [ -n "$HOST6" ]; then
        if [ "$ROUTER" = no ]; then
            [ -e $OURS6 ] || grep -lx 1 /proc/sys/net/ipv6/conf/*/accept_ra > $OURS6 || true
            lead -6 "$INNER6"
        fi
        # Who forwards heeds router advertisements only if told so in particular. One that did before is not told to.
        if [ -e $OURS6 ] || [ "$(cat $FORWARD6)" = 0 ]; then
            for heeds in /proc/sys/net/ipv6/conf/*/accept_ra; do
                [ "$(cat "$heeds")" != 1 ] || echo 2 > "$heeds"
            done
        fi
        echo 1 > $FORWARD6
    fi
}

# What this host itself sends and what comes from the relay goes anywhere, all else to the relay: lead -4|-6 INNER. By
# routing, since a host whose tables of nftables somebody flushed must not be a router for everybody. Rules of other
# protocols than "kernel" would be removed by systemd-networkd. What is for the host itself never comes here.
lead() {
    wander "$1"
    ip "$1" rule add pref 28 protocol kernel nop
    ip "$1" rule add pref 25 protocol kernel iif lo goto 28
    ip "$1" rule add pref 26 protocol kernel iif sallyport0 goto 28
    ip "$1" rule add pref 27 protocol kernel not to "$2" blackhole
}

wander() {
    for pref in 27 26 25 28; do
        [ -z "$(ip "$1" rule list pref $pref 2> /dev/null)" ] || ip "$1" rule delete pref $pref protocol kernel
    done
}

# Somebody may load the rules of a network that is not there.
raise() {
    ! ip link show dev sallyport0 > /dev/null 2>&1 || walls
}

rules() {
    raise
    {
        [ -z "$HOST4" ] || table ip "$HOST4" "$OUTER4" "$INNER4" "$OUTER4/30"
        [ -z "$HOST6" ] || table ip6 "$HOST6" "$OUTER6" "$INNER6" "$OUTER6/126"
    } | nft -f -
}

shut() {
    if [ -e $OURS4 ]; then
        echo 0 > $FORWARD4
        # The kernel has switched it on, whatever it was before.
        cat $OURS4 > $REDIRECTS
        wander -4
        rm $OURS4
    fi
    if [ -e $OURS6 ]; then
        echo 0 > $FORWARD6
        while read -r heeds; do
            # Unless its interface went.
            [ ! -e "$heeds" ] || echo 1 > "$heeds"
        done < $OURS6
        wander -6
        rm $OURS6
    fi
    forget sallyport
}

walls() {
    {
        wall ip "$HOST4" "$OUTER4" "$INNER4"
        # A kernel without IPv6 has no such table either.
        [ ! -e $FORWARD6 ] || wall ip6 "$HOST6" "$OUTER6" "$INNER6"
    } | nft -f -
}

# The table that parts relay and host, of one family: wall ip|ip6 HOST OUTER INNER. Without HOST nothing passes.
wall() {
    cat << END
table $1 sallyport_wall
delete table $1 sallyport_wall
table $1 sallyport_wall {
    # To the relay: clients to the guarded ports, and answers.
    chain passes {
        type filter hook forward priority filter
$(if [ -n "$2" ]; then cat << SOME
        oifname "sallyport0" $1 daddr $4 tcp dport { $PORTS } ct state untracked accept
        oifname "sallyport0" ct state established,related accept
        oifname "sallyport0" drop
        iifname "sallyport0" ct state invalid drop
        iifname "sallyport0" accept
SOME
else cat << NONE
        oifname "sallyport0" drop
        iifname "sallyport0" drop
NONE
fi)
    }

    # From the relay to the host itself: names, if the host has a server for them, and answers. Nothing else.
    chain enters {
        type filter hook input priority filter
        iifname != "sallyport0" accept
$(if [ -n "$2" ]; then cat << SOME
        ct state established,related accept
        $1 daddr $3 udp dport 53 accept
        $1 daddr $3 tcp dport 53 accept
SOME
fi)
$(if [ -n "$2" ] && [ "$1" = ip6 ]; then echo '        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'; fi)
        drop
    }
}
END
}

# The table of one family: table ip|ip6 HOST OUTER INNER WIRE.
table() {
    cat << END
table $1 sallyport
delete table $1 sallyport
table $1 sallyport {
    # Clients: from the host's address to the relay's and back. Their own address stays, since the gate judges by it.
    # Untracked: what strangers send leaves nothing behind on this host. Errors about the way (too big a packet) do
    # not find back through this, so the relay is told of a size that fits everywhere.
    chain arrives {
        type filter hook prerouting priority raw
        iifname "sallyport0" $1 saddr $4 $1 daddr != $3 tcp sport { $PORTS } notrack accept
        iifname "sallyport0" accept
        iifname != "lo" $1 saddr $5 drop
        $1 daddr $2 tcp dport { $PORTS } tcp flags & (syn | rst) == syn tcp option maxseg size > 1220 tcp option maxseg size set 1220
        $1 daddr $2 tcp dport { $PORTS } notrack $1 daddr set $4
    }
    chain leaves {
        type filter hook postrouting priority raw
        $1 saddr $4 tcp sport { $PORTS } ct state untracked $1 saddr set $2
    }

    # Mail to next hops, and questions: from the host's address, as if it were the host's own.
    chain asks {
        type nat hook postrouting priority srcnat
        $1 saddr $4 masquerade
    }

    # A host that is no router forwards nothing else. Of bridged frames br_netfilter makes us the judge: not ours.
$(if [ "$ROUTER" = no ]; then cat << SOME
    chain routes {
        type filter hook forward priority filter
        iifname "sallyport0" accept
        oifname "sallyport0" accept
        meta iifkind "bridge" meta oifkind "bridge" accept
        drop
    }
SOME
fi)
}
END
}

case ${1-} in
up | open | rules | walls) settings; "$1" ;;
shut | down) "$1" ;;
*) fail "up, open, rules, walls, shut or down?" ;;
esac
