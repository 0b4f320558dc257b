# router
set -e
nft -f - <<'WARREN_END_OF_INPUT'
table ip warren_nat
delete table ip warren_nat
table ip warren_nat {
  ct timeout age_udp {
    protocol udp; l3proto ip
    policy = { unreplied : 30, replied : 120 }
  }
  ct timeout age_tcp {
    protocol tcp; l3proto ip
    policy = { established : 432000 }
  }
  chain ageing {
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto udp ct timeout set "age_udp"
    meta l4proto tcp ct timeout set "age_tcp"
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    iifname "inside" icmp type echo-request accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    iifname "inside" oifname "outside" accept
    iifname "outside" oifname "inside" ct state established,related accept
  }
  chain output {
    type filter hook output priority filter; policy accept;
    oifname "outside" drop
  }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "outside" meta l4proto udp snat to 11.0.1.1 : 1024-65535 fully-random
    oifname "outside" meta l4proto tcp snat to 11.0.1.1 : 1024-65535 fully-random
    oifname "outside" masquerade
  }
  chain guard {
    type filter hook postrouting priority srcnat + 50; policy accept;
    oifname "outside" ip saddr != 11.0.1.1 drop
  }
}
WARREN_END_OF_INPUT
tc qdisc replace dev outside root handle 1: netem limit 100000 delay 20ms 5ms loss random 1%
tc qdisc replace dev inside root handle 1: netem limit 1074 delay 10ms rate 50000kbit
ip -batch - <<'WARREN_END_OF_INPUT'
address replace 10.40.1.254/24 dev inside
route replace 10.40.2.0/24 via 11.0.1.2
WARREN_END_OF_INPUT
sh -c 'test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 || echo 1 > /proc/sys/net/ipv4/ip_forward'

# host
set -e
ip -batch - <<'WARREN_END_OF_INPUT'
route replace default via 10.40.1.254
link add shape-in type ifb
WARREN_END_OF_INPUT
tc qdisc replace dev eth0 root handle 1: htb direct_qlen 0
tc class add dev eth0 parent 1: classid 1:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 1:1 pfifo limit 100000
tc class add dev eth0 parent 1: classid 1:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 1:2 netem limit 100000 delay 20ms 5ms loss random 1%
tc filter add dev eth0 parent 1: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 1:1
tc filter add dev eth0 parent 1: prio 1000 protocol all u32 match u32 0 0 flowid 1:2
tc qdisc replace dev shape-in root handle 1: htb direct_qlen 0
tc class add dev shape-in parent 1: classid 1:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 1:1 pfifo limit 100000
tc class add dev shape-in parent 1: classid 1:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 1:2 netem limit 1074 delay 10ms rate 50000kbit
tc filter add dev shape-in parent 1: prio 1 protocol ip u32 match ip src 10.40.1.1/32 flowid 1:1
tc filter add dev shape-in parent 1: prio 1000 protocol all u32 match u32 0 0 flowid 1:2
ip -batch - <<'WARREN_END_OF_INPUT'
link set shape-in up
WARREN_END_OF_INPUT
tc qdisc add dev eth0 handle ffff: ingress
tc filter add dev eth0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev shape-in
