# The relay in a network namespace of its own, joined to the host by a wire (veth(4)): docs/netns.md. The units
# sallyport-netns and sallyport-netns-rules call this as root by /bin/sh:
#
#   up      makes the namespace "sallyport", and the wire: "sallyport0" on the host, "gate0" inside
#   open    lets the host forward, then as "rules"
#   rules   writes the host's tables "sallyport" of nftables (anew)
#   shut    takes them away, and forwarding if it came by "open"
#   down    removes wire and namespace
set -eu
# What has begun comes to its end, in milliseconds: a reload that is ended by a restart would count as a failure, and
# the restart be given up.
trap '' TERM

. "${SALLYPORT_NETNS_CONF:-/etc/sallyport/netns.conf}"

FORWARD4=/proc/sys/net/ipv4/ip_forward
FORWARD6=/proc/sys/net/ipv6/conf/all/forwarding
# Is there while it was us who let the host forward.
OURS=/run/sallyport-netns/forwards

fail() {
    echo "sallyport-netns: $*" >&2
    exit 1
}

inside() {
    ip -netns sallyport "$@"
}

up() {
    [ -n "$HOST4$HOST6" ] || fail "neither HOST4 nor HOST6 of netns.conf names an address"
    ip netns add sallyport
    ip link add sallyport0 type veth peer name gate0 netns sallyport
    inside link set lo up
    if [ -n "$HOST4" ]; then
        ip address add "$OUTER4/30" dev sallyport0
        inside address add "$INNER4/30" dev gate0
    fi
    # Nobody else is on this wire: no address can be there twice.
    if [ -n "$HOST6" ]; then
        ip address add "$OUTER6/126" dev sallyport0 nodad
        inside address add "$INNER6/126" dev gate0 nodad
    fi
    ip link set sallyport0 up
    inside link set gate0 up
    [ -z "$HOST4" ] || inside route add default via "$OUTER4"
    [ -z "$HOST6" ] || inside -6 route add default via "$OUTER6"
}

down() {
    # Also what is left of an "up" that failed.
    [ ! -e /sys/class/net/sallyport0 ] || ip link delete sallyport0
    [ ! -e /run/netns/sallyport ] || ip netns delete sallyport
}

# A host that forwards already must be said to be a router.
may_forward() {
    if [ "$ROUTER" = no ] && [ ! -e $OURS ] && [ "$(cat "$1")" != 0 ]; then
        fail "this host forwards already ($1): if that is meant, say ROUTER=yes in netns.conf"
    fi
}

open() {
    [ -z "$HOST4" ] || may_forward $FORWARD4
    [ -z "$HOST6" ] || may_forward $FORWARD6
    # Forwarding comes last: whatever fails before leaves the host as it was.
    rules
    if [ "$ROUTER" = no ]; then
        mkdir -p "${OURS%/*}"
        : > $OURS
    fi
    [ -z "$HOST4" ] || echo 1 > $FORWARD4
    if [ -n "$HOST6" ]; then
        # Who forwards heeds router advertisements only if told so in particular.
        for heeds in /proc/sys/net/ipv6/conf/*/accept_ra; do
            [ "$(cat "$heeds")" != 1 ] || echo 2 > "$heeds"
        done
        echo 1 > $FORWARD6
    fi
}

rules() {
    {
        [ -z "$HOST4" ] || table ip "$HOST4" "$OUTER4" "$INNER4" "$OUTER4/30"
        [ -z "$HOST6" ] || table ip6 "$HOST6" "$OUTER6" "$INNER6" "$OUTER6/126"
    } | nft -f -
}

shut() {
    if [ -e $OURS ]; then
        [ -z "$HOST4" ] || echo 0 > $FORWARD4
        [ -z "$HOST6" ] || echo 0 > $FORWARD6
        rm $OURS
    fi
    for family in ip ip6; do
        # Making it first: deleting what is not there is an error.
        printf 'table %s sallyport\ndelete table %s sallyport\n' "$family" "$family" | nft -f -
    done
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
        $1 saddr $5 drop
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

    # To the relay: clients to the guarded ports, and answers.
    chain passes {
        type filter hook forward priority filter
        oifname "sallyport0" $1 daddr $4 tcp dport { $PORTS } ct state untracked accept
        oifname "sallyport0" ct state established,related accept
        oifname "sallyport0" drop
        iifname "sallyport0" ct state invalid drop
        iifname "sallyport0" accept
$(if [ "$ROUTER" = no ]; then echo '        drop'; fi)
    }

    # From the relay to the host itself: names, if the host has a server for them, and answers. Nothing else.
    chain enters {
        type filter hook input priority filter
        iifname != "sallyport0" accept
        ct state established,related accept
$(if [ "$1" = ip6 ]; then echo '        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'; fi)
        $1 daddr $3 udp dport 53 accept
        $1 daddr $3 tcp dport 53 accept
        drop
    }
}
END
}

case ${1-} in
up | open | rules | shut | down) "$1" ;;
*) fail "up, open, rules, shut or down?" ;;
esac
