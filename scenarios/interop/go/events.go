package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

type fields map[string]any

var (
	started = time.Now()
	output  sync.Mutex
)

// say writes one event, with the milliseconds since the start.
func say(event string, what fields) {
	line := fields{"event": event, "atMs": time.Since(started).Milliseconds()}
	for name, value := range what {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	fmt.Fprintf(os.Stdout, "%s\n", text)
}

// tracer tells what the hole puncher does.
type tracer struct{}

func (tracer) Trace(event *holepunch.Event) {
	say("punch", fields{"step": event.Type, "peer": event.Remote, "what": event.Evt})
}

// punchFilter leaves the hole puncher addresses of one transport only, own and foreign.
type punchFilter struct{ code int }

func newPunchFilter(name string) (punchFilter, error) {
	switch name {
	case "any":
		return punchFilter{}, nil
	case "tcp":
		return punchFilter{ma.P_TCP}, nil
	case "quic":
		return punchFilter{ma.P_QUIC_V1}, nil
	}
	return punchFilter{}, fmt.Errorf("-punch is %q: give tcp, quic, any or none", name)
}

func (f punchFilter) FilterLocal(_ peer.ID, addresses []ma.Multiaddr) []ma.Multiaddr {
	return f.only(addresses)
}

func (f punchFilter) FilterRemote(_ peer.ID, addresses []ma.Multiaddr) []ma.Multiaddr {
	return f.only(addresses)
}

func (f punchFilter) only(addresses []ma.Multiaddr) []ma.Multiaddr {
	if f.code == 0 {
		return addresses
	}
	kept := []ma.Multiaddr{}
	for _, address := range addresses {
		if has(address, f.code) {
			kept = append(kept, address)
		}
	}
	return kept
}

func has(address ma.Multiaddr, code int) bool {
	_, err := address.ValueForProtocol(code)
	return err == nil
}

// watch tells of connections and knows who came through a relay.
type watch struct {
	h       host.Host
	mutex   sync.Mutex
	relayed map[peer.ID]bool
	changed chan struct{}
}

func newWatch(h host.Host) *watch {
	return &watch{h: h, relayed: map[peer.ID]bool{}, changed: make(chan struct{}, 1)}
}

func isRelayed(c network.Conn) bool { return has(c.RemoteMultiaddr(), ma.P_CIRCUIT) }

func about(c network.Conn) fields {
	return fields{
		"peer":      c.RemotePeer(),
		"address":   c.RemoteMultiaddr(),
		"direction": c.Stat().Direction.String(),
		"direct":    !isRelayed(c),
	}
}

func (w *watch) Connected(_ network.Network, c network.Conn) {
	say("connected", about(c))
	w.mutex.Lock()
	if isRelayed(c) {
		w.relayed[c.RemotePeer()] = true
	}
	w.mutex.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watch) Disconnected(_ network.Network, c network.Conn) { say("disconnected", about(c)) }
func (w *watch) Listen(network.Network, ma.Multiaddr)           {}
func (w *watch) ListenClose(network.Network, ma.Multiaddr)      {}

// direct waits for a direct connection to the target, or, without one, to anybody who came through a relay.
func (w *watch) direct(ctx context.Context, target peer.ID) (peer.ID, error) {
	for {
		for _, c := range w.h.Network().Conns() {
			w.mutex.Lock()
			wanted := c.RemotePeer() == target || (target == "" && w.relayed[c.RemotePeer()])
			w.mutex.Unlock()
			if wanted && !isRelayed(c) {
				say("direct", about(c))
				return c.RemotePeer(), nil
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-w.changed:
		}
	}
}
