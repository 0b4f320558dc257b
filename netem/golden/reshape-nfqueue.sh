# router: {"up":{"delayMs":50}}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT

# router: {"up":{"delayMs":80,"rateKbit":1000},"down":{"lossPct":5,"lossBurst":4}}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
-A PREROUTING -i outside -j NFQUEUE --queue-num 2
COMMIT
WARREN_END_OF_INPUT

# router: {"up":{"duplicatePct":10},"down":{"duplicatePct":10},"peers":{"11.0.0.0/24":{"up":{"delayMs":5},"down":{}},"11.0.0.7/32":{"duplicatePct":20}}}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -d 11.0.0.7/32 -j NFQUEUE --queue-num 3
-A PREROUTING -i inside -d 11.0.0.0/24 -j NFQUEUE --queue-num 5
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
-A PREROUTING -i outside -s 11.0.0.7/32 -j NFQUEUE --queue-num 4
-A PREROUTING -i outside -s 11.0.0.0/24 -j ACCEPT
-A PREROUTING -i outside -j NFQUEUE --queue-num 2
COMMIT
WARREN_END_OF_INPUT
sh -c 'ip link add copy-up type veth peer name copy-up-in address "$(ip -o link show dev inside | sed '\''s#.*link/ether \([^ ]*\).*#\1#'\'')"'
ip -batch - <<'WARREN_END_OF_INPUT'
link set copy-up up
link set copy-up-in up
WARREN_END_OF_INPUT
tc qdisc add dev copy-up-in ingress
tc filter add dev copy-up-in ingress protocol all u32 match u32 0 0 action mirred ingress redirect dev inside
tc qdisc add dev inside ingress
tc filter add dev inside ingress protocol ip prio 1 bpf bytecode '8,32 0 0 30,84 0 0 4294967295,21 1 0 184549383,6 0 0 0,32 0 0 4294963256,53 1 0 715827882,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
tc filter add dev inside ingress protocol ip prio 2 bpf bytecode '12,32 0 0 30,84 0 0 4294967295,21 0 1 184549383,6 0 0 0,32 0 0 30,84 0 0 4294967040,21 0 1 184549376,6 0 0 0,32 0 0 4294963256,53 1 0 390451572,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
sh -c 'ip link add copy-down type veth peer name copy-down-in address "$(ip -o link show dev outside | sed '\''s#.*link/ether \([^ ]*\).*#\1#'\'')"'
ip -batch - <<'WARREN_END_OF_INPUT'
link set copy-down up
link set copy-down-in up
WARREN_END_OF_INPUT
tc qdisc add dev copy-down-in ingress
tc filter add dev copy-down-in ingress protocol all u32 match u32 0 0 action mirred ingress redirect dev outside
tc qdisc add dev outside ingress
tc filter add dev outside ingress protocol ip prio 1 bpf bytecode '8,32 0 0 26,84 0 0 4294967295,21 1 0 184549383,6 0 0 0,32 0 0 4294963256,53 1 0 715827882,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-down
tc filter add dev outside ingress protocol ip prio 2 bpf bytecode '12,32 0 0 26,84 0 0 4294967295,21 0 1 184549383,6 0 0 0,32 0 0 26,84 0 0 4294967040,21 0 1 184549376,6 0 0 0,32 0 0 4294963256,53 1 0 390451572,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-down

# router: {"up":{"duplicatePct":10}}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev inside ingress 2>/dev/null || true'
tc filter add dev inside ingress protocol ip prio 1 bpf bytecode '4,32 0 0 4294963256,53 1 0 390451572,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
sh -c 'tc filter del dev outside ingress 2>/dev/null || true'

# router: {"up":{"duplicatePct":20}}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev inside ingress 2>/dev/null || true'
tc filter add dev inside ingress protocol ip prio 1 bpf bytecode '4,32 0 0 4294963256,53 1 0 715827882,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
sh -c 'tc filter del dev outside ingress 2>/dev/null || true'

# router: {"up":{"delayMs":5}}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i inside -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev inside ingress 2>/dev/null || true'
sh -c 'tc filter del dev outside ingress 2>/dev/null || true'

# router: {}
set -e
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev inside ingress 2>/dev/null || true'
sh -c 'tc filter del dev outside ingress 2>/dev/null || true'

# host: {"up":{"delayMs":50}}
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
ip -batch - <<'WARREN_END_OF_INPUT'
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
COMMIT
WARREN_END_OF_INPUT
ip -batch - <<'WARREN_END_OF_INPUT'
rule add pref 100 iif lo lookup 100
WARREN_END_OF_INPUT

# host: {"up":{"delayMs":80,"rateKbit":1000},"down":{"lossPct":5,"lossBurst":4}}
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
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

# host: {"up":{"duplicatePct":10},"down":{"duplicatePct":10},"peers":{"11.0.0.0/24":{"up":{"delayMs":5},"down":{}},"11.0.0.7/32":{"duplicatePct":20}}}
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i shape-back -d 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i shape-back -d 11.0.0.7/32 -j NFQUEUE --queue-num 5
-A PREROUTING -i shape-back -d 11.0.0.0/24 -j NFQUEUE --queue-num 7
-A PREROUTING -i shape-back -j NFQUEUE --queue-num 1
-A PREROUTING -i eth0 -s 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i eth0 -s 11.0.0.7/32 -j NFQUEUE --queue-num 6
-A PREROUTING -i eth0 -s 11.0.0.0/24 -j ACCEPT
-A PREROUTING -i eth0 -j NFQUEUE --queue-num 2
COMMIT
WARREN_END_OF_INPUT
sh -c 'ip link add copy-up type veth peer name copy-up-in address "$(ip -o link show dev shape-back | sed '\''s#.*link/ether \([^ ]*\).*#\1#'\'')"'
ip -batch - <<'WARREN_END_OF_INPUT'
link set copy-up up
link set copy-up-in up
WARREN_END_OF_INPUT
tc qdisc add dev copy-up-in ingress
tc filter add dev copy-up-in ingress protocol all u32 match u32 0 0 action mirred ingress redirect dev shape-back
tc qdisc add dev shape-back ingress
tc filter add dev shape-back ingress protocol ip prio 1 bpf bytecode '12,32 0 0 30,84 0 0 4294967295,21 0 1 170393857,6 0 0 0,32 0 0 30,84 0 0 4294967295,21 1 0 184549383,6 0 0 0,32 0 0 4294963256,53 1 0 715827882,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
tc filter add dev shape-back ingress protocol ip prio 2 bpf bytecode '16,32 0 0 30,84 0 0 4294967295,21 0 1 170393857,6 0 0 0,32 0 0 30,84 0 0 4294967295,21 0 1 184549383,6 0 0 0,32 0 0 30,84 0 0 4294967040,21 0 1 184549376,6 0 0 0,32 0 0 4294963256,53 1 0 390451572,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
sh -c 'ip link add copy-down type veth peer name copy-down-in address "$(ip -o link show dev eth0 | sed '\''s#.*link/ether \([^ ]*\).*#\1#'\'')"'
ip -batch - <<'WARREN_END_OF_INPUT'
link set copy-down up
link set copy-down-in up
WARREN_END_OF_INPUT
tc qdisc add dev copy-down-in ingress
tc filter add dev copy-down-in ingress protocol all u32 match u32 0 0 action mirred ingress redirect dev eth0
tc qdisc add dev eth0 ingress
tc filter add dev eth0 ingress protocol ip prio 1 bpf bytecode '12,32 0 0 26,84 0 0 4294967295,21 0 1 170393857,6 0 0 0,32 0 0 26,84 0 0 4294967295,21 1 0 184549383,6 0 0 0,32 0 0 4294963256,53 1 0 715827882,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-down
tc filter add dev eth0 ingress protocol ip prio 2 bpf bytecode '16,32 0 0 26,84 0 0 4294967295,21 0 1 170393857,6 0 0 0,32 0 0 26,84 0 0 4294967295,21 0 1 184549383,6 0 0 0,32 0 0 26,84 0 0 4294967040,21 0 1 184549376,6 0 0 0,32 0 0 4294963256,53 1 0 390451572,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-down

# host: {"up":{"duplicatePct":10}}
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i shape-back -d 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i shape-back -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev shape-back ingress 2>/dev/null || true'
tc filter add dev shape-back ingress protocol ip prio 1 bpf bytecode '8,32 0 0 30,84 0 0 4294967295,21 0 1 170393857,6 0 0 0,32 0 0 4294963256,53 1 0 390451572,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
sh -c 'tc filter del dev eth0 ingress 2>/dev/null || true'

# host: {"up":{"duplicatePct":20}}
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i shape-back -d 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i shape-back -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev shape-back ingress 2>/dev/null || true'
tc filter add dev shape-back ingress protocol ip prio 1 bpf bytecode '8,32 0 0 30,84 0 0 4294967295,21 0 1 170393857,6 0 0 0,32 0 0 4294963256,53 1 0 715827882,6 0 0 4294967295,6 0 0 0' action mirred egress mirror dev copy-up
sh -c 'tc filter del dev eth0 ingress 2>/dev/null || true'

# host: {"up":{"delayMs":5}}
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/accept_local
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
-A PREROUTING -i shape-back -d 10.40.1.1/32 -j ACCEPT
-A PREROUTING -i shape-back -j NFQUEUE --queue-num 1
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev shape-back ingress 2>/dev/null || true'
sh -c 'tc filter del dev eth0 ingress 2>/dev/null || true'

# host: {}
set -e
ip -batch - <<'WARREN_END_OF_INPUT'
rule del pref 100 iif lo lookup 100
WARREN_END_OF_INPUT
iptables-restore -n <<'WARREN_END_OF_INPUT'
*raw
:PREROUTING ACCEPT [0:0]
-F PREROUTING
COMMIT
WARREN_END_OF_INPUT
sh -c 'tc filter del dev shape-back ingress 2>/dev/null || true'
sh -c 'tc filter del dev eth0 ingress 2>/dev/null || true'
