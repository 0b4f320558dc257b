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
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
-A PREROUTING -i outside -j NFQUEUE --queue-num 2
COMMIT
WARREN_END_OF_INPUT
ip -batch - <<'WARREN_END_OF_INPUT'
address replace 10.40.1.254/24 dev inside
route replace 10.40.2.0/24 via 11.0.1.2
WARREN_END_OF_INPUT
sh -c 'test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 || echo 1 > /proc/sys/net/ipv4/ip_forward'

# host
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
ip -batch - <<'WARREN_END_OF_INPUT'
route replace default via 10.40.1.254
link add shape-out address 02:00:00:00:00:01 arp off type veth peer name shape-back address 02:00:00:00:00:01 arp off
link set shape-out up
link set shape-back up
route add 10.40.1.0/24 dev shape-out src 10.40.1.10 table 100
route add default dev shape-out src 10.40.1.10 table 100
route add throw 10.40.1.1 table 100
WARREN_END_OF_INPUT
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i shape-back -d 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i shape-back -j NFQUEUE --queue-num 1
-A PREROUTING -i eth0 -s 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i eth0 -j NFQUEUE --queue-num 2
COMMIT
WARREN_END_OF_INPUT
ip -batch - <<'WARREN_END_OF_INPUT'
rule add pref 100 iif lo lookup 100
WARREN_END_OF_INPUT
