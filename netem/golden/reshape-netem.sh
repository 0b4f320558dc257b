# router: {"up":{"delayMs":50}}
set -e
tc qdisc replace dev outside root handle 2: netem limit 100000 delay 50ms

# router: {"up":{"delayMs":80,"rateKbit":1000},"down":{"lossPct":5,"lossBurst":4}}
set -e
tc qdisc replace dev outside root handle 3: netem limit 32 delay 80ms rate 1000kbit
tc qdisc replace dev inside root handle 3: netem limit 100000 loss gemodel 1.315789% 25%

# router: {"up":{"corruptPct":10},"down":{"corruptPct":10},"peers":{"11.0.0.0/24":{"up":{"delayMs":5},"down":{}},"11.0.0.7/32":{"corruptPct":20}}}
set -e
tc qdisc replace dev outside root handle 4: htb direct_qlen 0
tc class add dev outside parent 4: classid 4:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev outside parent 4:1 netem limit 100000 corrupt 20%
tc class add dev outside parent 4: classid 4:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev outside parent 4:2 netem limit 100000 delay 5ms
tc class add dev outside parent 4: classid 4:3 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev outside parent 4:3 netem limit 100000 corrupt 10%
tc filter add dev outside parent 4: prio 1 protocol ip u32 match ip dst 11.0.0.7/32 flowid 4:1
tc filter add dev outside parent 4: prio 2 protocol ip u32 match ip dst 11.0.0.0/24 flowid 4:2
tc filter add dev outside parent 4: prio 1000 protocol all u32 match u32 0 0 flowid 4:3
tc qdisc replace dev inside root handle 4: htb direct_qlen 0
tc class add dev inside parent 4: classid 4:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev inside parent 4:1 netem limit 100000 corrupt 20%
tc class add dev inside parent 4: classid 4:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev inside parent 4:2 pfifo limit 100000
tc class add dev inside parent 4: classid 4:3 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev inside parent 4:3 netem limit 100000 corrupt 10%
tc filter add dev inside parent 4: prio 1 protocol ip u32 match ip src 11.0.0.7/32 flowid 4:1
tc filter add dev inside parent 4: prio 2 protocol ip u32 match ip src 11.0.0.0/24 flowid 4:2
tc filter add dev inside parent 4: prio 1000 protocol all u32 match u32 0 0 flowid 4:3

# router: {"up":{"duplicatePct":10}}
set -e
tc qdisc replace dev outside root handle 7fff: htb direct_qlen 0
tc qdisc replace dev outside root handle 5: netem limit 100000 duplicate 10%
tc qdisc del dev inside root

# router: {"up":{"duplicatePct":20}}
set -e
tc qdisc replace dev outside root handle 7fff: htb direct_qlen 0
tc qdisc replace dev outside root handle 6: netem limit 100000 duplicate 20%

# router: {"up":{"delayMs":5}}
set -e
tc qdisc replace dev outside root handle 7fff: htb direct_qlen 0
tc qdisc replace dev outside root handle 7: netem limit 100000 delay 5ms

# router: {}
set -e
tc qdisc del dev outside root

# host: {"up":{"delayMs":50}}
set -e
tc qdisc replace dev eth0 root handle 2: htb direct_qlen 0
tc class add dev eth0 parent 2: classid 2:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 2:1 pfifo limit 100000
tc class add dev eth0 parent 2: classid 2:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 2:2 netem limit 100000 delay 50ms
tc filter add dev eth0 parent 2: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 2:1
tc filter add dev eth0 parent 2: prio 1000 protocol all u32 match u32 0 0 flowid 2:2

# host: {"up":{"delayMs":80,"rateKbit":1000},"down":{"lossPct":5,"lossBurst":4}}
set -e
ip -batch - <<'WARREN_END_OF_INPUT'
link add shape-in type ifb
WARREN_END_OF_INPUT
tc qdisc replace dev eth0 root handle 3: htb direct_qlen 0
tc class add dev eth0 parent 3: classid 3:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 3:1 pfifo limit 100000
tc class add dev eth0 parent 3: classid 3:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 3:2 netem limit 32 delay 80ms rate 1000kbit
tc filter add dev eth0 parent 3: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 3:1
tc filter add dev eth0 parent 3: prio 1000 protocol all u32 match u32 0 0 flowid 3:2
tc qdisc replace dev shape-in root handle 3: htb direct_qlen 0
tc class add dev shape-in parent 3: classid 3:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 3:1 pfifo limit 100000
tc class add dev shape-in parent 3: classid 3:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 3:2 netem limit 100000 loss gemodel 1.315789% 25%
tc filter add dev shape-in parent 3: prio 1 protocol ip u32 match ip src 10.40.1.1/32 flowid 3:1
tc filter add dev shape-in parent 3: prio 1000 protocol all u32 match u32 0 0 flowid 3:2
ip -batch - <<'WARREN_END_OF_INPUT'
link set shape-in up
WARREN_END_OF_INPUT
tc qdisc add dev eth0 handle ffff: ingress
tc filter add dev eth0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev shape-in

# host: {"up":{"corruptPct":10},"down":{"corruptPct":10},"peers":{"11.0.0.0/24":{"up":{"delayMs":5},"down":{}},"11.0.0.7/32":{"corruptPct":20}}}
set -e
tc qdisc replace dev eth0 root handle 4: htb direct_qlen 0
tc class add dev eth0 parent 4: classid 4:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 4:1 pfifo limit 100000
tc class add dev eth0 parent 4: classid 4:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 4:2 netem limit 100000 corrupt 20%
tc class add dev eth0 parent 4: classid 4:3 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 4:3 netem limit 100000 delay 5ms
tc class add dev eth0 parent 4: classid 4:4 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 4:4 netem limit 100000 corrupt 10%
tc filter add dev eth0 parent 4: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 4:1
tc filter add dev eth0 parent 4: prio 2 protocol ip u32 match ip dst 11.0.0.7/32 flowid 4:2
tc filter add dev eth0 parent 4: prio 3 protocol ip u32 match ip dst 11.0.0.0/24 flowid 4:3
tc filter add dev eth0 parent 4: prio 1000 protocol all u32 match u32 0 0 flowid 4:4
tc qdisc replace dev shape-in root handle 4: htb direct_qlen 0
tc class add dev shape-in parent 4: classid 4:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 4:1 pfifo limit 100000
tc class add dev shape-in parent 4: classid 4:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 4:2 netem limit 100000 corrupt 20%
tc class add dev shape-in parent 4: classid 4:3 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 4:3 pfifo limit 100000
tc class add dev shape-in parent 4: classid 4:4 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev shape-in parent 4:4 netem limit 100000 corrupt 10%
tc filter add dev shape-in parent 4: prio 1 protocol ip u32 match ip src 10.40.1.1/32 flowid 4:1
tc filter add dev shape-in parent 4: prio 2 protocol ip u32 match ip src 11.0.0.7/32 flowid 4:2
tc filter add dev shape-in parent 4: prio 3 protocol ip u32 match ip src 11.0.0.0/24 flowid 4:3
tc filter add dev shape-in parent 4: prio 1000 protocol all u32 match u32 0 0 flowid 4:4

# host: {"up":{"duplicatePct":10}}
set -e
tc qdisc replace dev eth0 root handle 5: htb direct_qlen 0
tc class add dev eth0 parent 5: classid 5:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 5:1 pfifo limit 100000
tc class add dev eth0 parent 5: classid 5:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 5:2 netem limit 100000 duplicate 10%
tc filter add dev eth0 parent 5: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 5:1
tc filter add dev eth0 parent 5: prio 1000 protocol all u32 match u32 0 0 flowid 5:2
tc qdisc del dev shape-in root

# host: {"up":{"duplicatePct":20}}
set -e
tc qdisc replace dev eth0 root handle 6: htb direct_qlen 0
tc class add dev eth0 parent 6: classid 6:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 6:1 pfifo limit 100000
tc class add dev eth0 parent 6: classid 6:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 6:2 netem limit 100000 duplicate 20%
tc filter add dev eth0 parent 6: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 6:1
tc filter add dev eth0 parent 6: prio 1000 protocol all u32 match u32 0 0 flowid 6:2

# host: {"up":{"delayMs":5}}
set -e
tc qdisc replace dev eth0 root handle 7: htb direct_qlen 0
tc class add dev eth0 parent 7: classid 7:1 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 7:1 pfifo limit 100000
tc class add dev eth0 parent 7: classid 7:2 htb rate 10gbit burst 1mb cburst 1mb quantum 60000
tc qdisc add dev eth0 parent 7:2 netem limit 100000 delay 5ms
tc filter add dev eth0 parent 7: prio 1 protocol ip u32 match ip dst 10.40.1.1/32 flowid 7:1
tc filter add dev eth0 parent 7: prio 1000 protocol all u32 match u32 0 0 flowid 7:2

# host: {}
set -e
tc qdisc del dev eth0 root
