// A libp2p peer of the second implementation, for the lab: TCP and QUIC, ping, identify, circuit relay v2 and DCUtR by
// go-libp2p. It speaks to the peers that its flags name and to nobody else: no bootstrap list, no relay or peer of its
// own choice, no discovery, no port mapping. What happens is told in JSON, one line an event; the first line is
// {"event":"ready","ready":true,"peerId","addresses"}.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	// Between attempts to dial somebody who may not be up yet.
	retryEvery = 200 * time.Millisecond
	// One attempt, relay included.
	dialWithin = 5 * time.Second
	// Answers to -pings pings.
	pingWithin = 5 * time.Second
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string         { return strings.Join(*l, " ") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

type options struct {
	key             string
	listen          list
	connect         list
	reserve         list
	dial            string
	punch           string
	pings           int
	until           string
	within, lingers time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.key, "key", "", "private key, libp2p's protobuf in base64; default a fresh one")
	flag.Var(&o.listen, "listen", "address to listen on; may be repeated")
	flag.Var(&o.connect, "connect", "peer to be connected to before ready, who also tells how it sees this one; may be repeated")
	flag.Var(&o.reserve, "reserve", "relay to reserve a place on before ready; may be repeated")
	flag.StringVar(&o.dial, "dial", "", "peer to dial, through a relay or not, until it answers")
	flag.StringVar(&o.punch, "punch", "any", "transport that hole punching may use: tcp, quic, any, or none for no punching at all")
	flag.IntVar(&o.pings, "pings", 0, "pings to send over what -until waited for")
	flag.StringVar(&o.until, "until", "never", "end after: connected (to -dial, by any path), direct (to -dial, or to whoever came through a relay), never")
	flag.DurationVar(&o.within, "within", time.Minute, "end after so long in any case")
	flag.DurationVar(&o.lingers, "lingers", 2*time.Second, "stay so long after -until, for the other side to see it too")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, o.within)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		say("failed", fields{"error": err.Error()})
		os.Exit(1)
	}
}

// run tells what happens until the goal of -until is reached or the time is over; only a peer that never was ready is an error.
func run(ctx context.Context, o options) error {
	h, err := newHost(o)
	if err != nil {
		return err
	}
	defer h.Close()
	watch := newWatch(h)
	h.Network().Notify(watch)

	for _, address := range o.connect {
		if _, err := dialUntil(ctx, h, address); err != nil {
			return fmt.Errorf("connecting to %s: %w", address, err)
		}
	}
	relays := []*peer.AddrInfo{}
	for _, address := range o.reserve {
		info, err := dialUntil(ctx, h, address)
		if err != nil {
			return fmt.Errorf("connecting to the relay %s: %w", address, err)
		}
		relays = append(relays, info)
	}
	if o.punch != "none" {
		if err := canPunch(ctx, h); err != nil {
			return fmt.Errorf("learning a public address, which punching needs: %w", err)
		}
	}
	addresses := h.Addrs()
	for _, info := range relays {
		reservation, err := client.Reserve(ctx, h, *info)
		if err != nil {
			return fmt.Errorf("reserving on %s: %w", info.ID, err)
		}
		h.ConnManager().Protect(info.ID, "relay")
		say("reserved", fields{"relay": info.ID, "untilSeconds": int(time.Until(reservation.Expiration).Seconds())})
		addresses = append(addresses, reservation.Addrs...)
	}
	say("ready", fields{"ready": true, "peerId": h.ID(), "addresses": addresses})

	target, err := reach(ctx, h, o, watch)
	if err != nil {
		say("end", fields{"reached": false, "error": err.Error()})
		return nil
	}
	if o.pings > 0 {
		sendPings(ctx, h, target, o.pings)
	}
	say("end", fields{"reached": true})
	select {
	case <-ctx.Done():
	case <-time.After(o.lingers):
	}
	return nil
}

func newHost(o options) (host.Host, error) {
	identity := libp2p.RandomIdentity
	if o.key != "" {
		raw, err := base64.StdEncoding.DecodeString(o.key)
		if err != nil {
			return nil, fmt.Errorf("-key: %w", err)
		}
		key, err := crypto.UnmarshalPrivateKey(raw)
		if err != nil {
			return nil, fmt.Errorf("-key: %w", err)
		}
		identity = libp2p.Identity(key)
	}
	punching := libp2p.ChainOptions()
	if o.punch != "none" {
		filter, err := newPunchFilter(o.punch)
		if err != nil {
			return nil, err
		}
		punching = libp2p.EnableHolePunching(holepunch.WithTracer(tracer{}), holepunch.WithAddrFilter(filter))
	}
	return libp2p.New(
		identity,
		libp2p.UserAgent("warren-interop-go"),
		libp2p.ListenAddrStrings(o.listen...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(quic.NewTransport),
		libp2p.EnableRelay(),
		punching,
		// In the lab there is nobody to find out by; without this a peer behind a NAT would ask around first.
		libp2p.ForceReachabilityPrivate(),
		// A lab has links that lose everything for a while: that is no reason to give up UDP for good.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.DisableMetrics(),
	)
}

// canPunch waits for go-libp2p's hole puncher, which begins when it knows a public address of its own, some time after
// a peer told one: whoever came through a relay before that is never punched.
func canPunch(ctx context.Context, h host.Host) error {
	for !slices.Contains(h.Mux().Protocols(), holepunch.Protocol) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryEvery):
		}
	}
	return nil
}

// reach dials -dial, where given, and waits for what -until asks.
func reach(ctx context.Context, h host.Host, o options, watch *watch) (peer.ID, error) {
	var target peer.ID
	if o.dial != "" {
		info, err := dialUntil(ctx, h, o.dial)
		if err != nil {
			return "", fmt.Errorf("dialling %s: %w", o.dial, err)
		}
		target = info.ID
	}
	switch o.until {
	case "connected":
		return target, nil
	case "direct":
		return watch.direct(ctx, target)
	default:
		<-ctx.Done()
		return "", errors.New("the time is over")
	}
}

// dialUntil dials again and again, because the other side may still be starting.
func dialUntil(ctx context.Context, h host.Host, address string) (*peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, err
	}
	for {
		attempt, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "interop"), dialWithin)
		err := h.Connect(attempt, *info)
		cancel()
		if err == nil {
			return info, nil
		}
		say("dial-failed", fields{"address": address, "error": err.Error()})
		// An attempt that came too early must not make the next one wait.
		h.Network().(*swarm.Swarm).Backoff().Clear(info.ID)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retryEvery):
		}
	}
}

func sendPings(ctx context.Context, h host.Host, target peer.ID, count int) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "interop"), pingWithin)
	defer cancel()
	results := ping.Ping(ctx, h, target)
	for range count {
		result, ok := <-results
		if !ok || result.Error != nil {
			say("ping", fields{"peer": target, "ok": false, "error": fmt.Sprint(result.Error)})
			return
		}
		say("ping", fields{"peer": target, "ok": true, "rttMs": float64(result.RTT.Microseconds()) / 1000})
	}
}
