/**
 * A program that measures links from user space: streams of UDP packets stamped where they are sent and timed where they
 * arrive. Both ends run on one kernel, whose monotonic clock they share, so that each direction is measured by itself.
 * The functions are self-contained: their text is given to `node -e`, so that any host with Node can run them.
 */

/** One stream of packets. */
export interface StreamAsk {
  /** `up`: the prober sends; `down`: the reflector does. */
  direction: 'up' | 'down'
  packets: number
  /** UDP payload of each, bytes, at least 24. */
  payloadBytes: number
  /** Packets a second, evenly; 0: all at once. */
  perSecond: number
  /** Arrivals faster than this count as early, milliseconds. */
  earlyBelowMs: number
  /** How long the last packet may be under way, milliseconds: the link's delay and what its rate still holds. */
  settleMs: number
}

/** What came of a stream. */
export interface StreamSeen {
  sent: number
  /** Different packets that arrived. */
  received: number
  /** Arrivals of a packet that was there already. */
  duplicates: number
  /** Arrivals faster than `earlyBelowMs`. */
  early: number
  /** Arrivals after a packet that was sent later. */
  reordered: number
  /** Runs of packets that never came. */
  lossRuns: number
  /** One-way delays of first arrivals by quantile, milliseconds; null when nothing came. */
  delayMs: Record<'min' | 'p5' | 'p25' | 'p50' | 'p75' | 'p95' | 'max' | 'mean', number> | null
  /** Whole Ethernet frames from the first arrival to the last, kilobit per second; null under three packets. */
  rateKbit: number | null
  /** Datagrams that the receiver's kernel dropped meanwhile for a wrong checksum. */
  checksumErrors: number
  /** Datagrams that the receiver's kernel dropped meanwhile because the program did not read fast enough. */
  notRead: number
}

/** What a run of the program does: reflect for a while, or ask a reflector for streams and print `StreamSeen[]`. */
export type LinkProbeOrder =
  | { reflect: { port: number; forMs: number; ipv6?: true } }
  | { probe: { address: string; port: number; streams: StreamAsk[] } }

/** Rejects nothing and throws nothing: where nothing comes, nothing was received. */
export function linkProbe(order: LinkProbeOrder): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const { readFileSync } = process.getBuiltinModule('node:fs')
  const stampNs = (): number => Number(process.hrtime.bigint())
  const nsPerMs = 1e6
  // IPv4, UDP and Ethernet headers: what a rate limit counts besides.
  const headerBytes = 20 + 8 + 14
  const askEveryMs = 400
  const asksMax = 60
  const socketBytes = 4 << 20
  const stream = { id: 1, sequence: 5, stamp: 9, bytes: 17 }

  /** Counters of this network's UDP. */
  const snmp = (): { checksum: number; unread: number } => {
    const [names = '', values = ''] = readFileSync('/proc/net/snmp', 'utf8')
      .split('\n')
      .filter(line => line.startsWith('Udp: '))
    const at = (name: string): number => Number(values.split(' ')[names.split(' ').indexOf(name)] ?? 0)
    return { checksum: at('InCsumErrors'), unread: at('RcvbufErrors') }
  }

  interface Arrivals {
    before: { checksum: number; unread: number }
    sequences: number[]
    delaysMs: number[]
    firstMs: number
    lastMs: number
    bytes: number
  }
  const newRecord = (): Arrivals => ({
    before: snmp(),
    sequences: [],
    delaysMs: [],
    firstMs: 0,
    lastMs: 0,
    bytes: 0
  })
  const arrive = (record: Arrivals, message: Buffer): void => {
    const nowNs = stampNs()
    const nowMs = nowNs / nsPerMs
    if (record.sequences.length === 0) record.firstMs = nowMs
    else record.bytes += message.length + headerBytes
    record.lastMs = nowMs
    record.sequences.push(message.readUInt32BE(stream.sequence))
    record.delaysMs.push((nowNs - message.readDoubleBE(stream.stamp)) / nsPerMs)
  }
  const sumUp = (record: Arrivals | undefined, ask: StreamAsk): StreamSeen => {
    const { sequences = [], delaysMs = [], before = snmp() } = record ?? {}
    const came = new Uint8Array(ask.packets)
    const delays: number[] = []
    let highest = -1
    let reordered = 0
    let duplicates = 0
    let early = 0
    sequences.forEach((sequence, index) => {
      if (delaysMs[index]! < ask.earlyBelowMs) early++
      if (came[sequence] === 1) {
        duplicates++
        return
      }
      came[sequence] = 1
      delays.push(delaysMs[index]!)
      if (sequence < highest) reordered++
      highest = Math.max(highest, sequence)
    })
    let lossRuns = 0
    for (let n = 0; n < came.length; n++) if (came[n] === 0 && (n === 0 || came[n - 1] === 1)) lossRuns++
    delays.sort((a, b) => a - b)
    const at = (share: number): number =>
      Math.round(delays[Math.min(delays.length - 1, Math.floor(share * delays.length))]! * 1000) / 1000
    const after = snmp()
    const spanMs = (record?.lastMs ?? 0) - (record?.firstMs ?? 0)
    return {
      sent: ask.packets,
      received: delays.length,
      duplicates,
      early,
      reordered,
      lossRuns,
      delayMs:
        delays.length === 0
          ? null
          : {
              min: at(0),
              p5: at(0.05),
              p25: at(0.25),
              p50: at(0.5),
              p75: at(0.75),
              p95: at(0.95),
              max: at(1),
              mean: Math.round((delays.reduce((sum, ms) => sum + ms, 0) / delays.length) * 1000) / 1000
            },
      rateKbit: delays.length < 3 || spanMs <= 0 ? null : Math.round((record!.bytes * 8) / spanMs),
      checksumErrors: after.checksum - before.checksum,
      notRead: after.unread - before.unread
    }
  }
  /** Send a stream and resolve when its last packet is out. */
  const send = (id: number, ask: StreamAsk, out: (packet: Buffer) => void): Promise<void> =>
    new Promise(resolve => {
      const beganNs = stampNs()
      let sequence = 0
      const burst = (): void => {
        const due =
          ask.perSecond === 0
            ? ask.packets
            : Math.min(ask.packets, 1 + Math.floor(((stampNs() - beganNs) / 1e9) * ask.perSecond))
        for (; sequence < due; sequence++) {
          const packet = Buffer.alloc(Math.max(ask.payloadBytes, stream.bytes), 0x55)
          packet.write('P')
          packet.writeUInt32BE(id, stream.id)
          packet.writeUInt32BE(sequence, stream.sequence)
          packet.writeDoubleBE(stampNs(), stream.stamp)
          out(packet)
        }
        if (sequence < ask.packets) setTimeout(burst, 1)
        else resolve()
      }
      burst()
    })
  const isIPv6 = 'probe' in order ? order.probe.address.includes(':') : order.reflect.ipv6 === true
  const socket = dgram.createSocket({
    type: isIPv6 ? 'udp6' : 'udp4',
    recvBufferSize: socketBytes,
    sendBufferSize: socketBytes,
    // Nothing here is a name; a look-up would only take time between stamp and send.
    lookup: (host, _options, callback) => callback(null, host, isIPv6 ? 6 : 4)
  })

  // Where nobody listens yet, or any more, the other host answers "refused".
  socket.on('error', () => {})

  const reflect = ({ port, forMs }: { port: number; forMs: number }): void => {
    const records = new Map<string, Arrivals>()
    const sending = new Set<string>()
    const sent = new Set<string>()
    socket.on('message', (message, { address, port: from }) => {
      if (message.length < stream.sequence) return
      const kind = String.fromCharCode(message[0]!)
      const key = `${address}:${from}:${message.readUInt32BE(stream.id)}`
      if (kind === 'P') {
        const record = records.get(key) ?? newRecord()
        records.set(key, record)
        arrive(record, message)
      } else if (kind === 'B') {
        // Counters are read before the first packet of the stream.
        if (!records.has(key)) records.set(key, newRecord())
        socket.send(message.fill('b', 0, 1), from, address)
      } else if (kind === 'Q') {
        const ask = JSON.parse(message.toString('utf8', stream.sequence)) as StreamAsk
        const head = message.subarray(0, stream.sequence).fill('A', 0, 1)
        socket.send(Buffer.concat([head, Buffer.from(JSON.stringify(sumUp(records.get(key), ask)))]), from, address)
      } else if (kind === 'D' && !sending.has(key)) {
        sending.add(key)
        const ask = JSON.parse(message.toString('utf8', stream.sequence)) as StreamAsk
        void send(message.readUInt32BE(stream.id), ask, packet => socket.send(packet, from, address)).then(() => {
          sent.add(key)
        })
      } else if (kind === 'E' && sent.has(key)) {
        socket.send(message.fill('e', 0, 1), from, address)
      }
    })
    socket.bind(port)
    setTimeout(() => process.exit(0), forMs)
  }

  const probe = async ({
    address,
    port,
    streams
  }: {
    address: string
    port: number
    streams: StreamAsk[]
  }): Promise<void> => {
    await new Promise<void>(resolve => socket.connect(port, address, resolve))
    const message = (kind: string, id: number, ask?: StreamAsk): Buffer => {
      const head = Buffer.alloc(stream.sequence)
      head.write(kind)
      head.writeUInt32BE(id, stream.id)
      return Buffer.concat([head, Buffer.from(ask === undefined ? '' : JSON.stringify(ask))])
    }
    const out = (bytes: Buffer): void => socket.send(bytes, () => {})
    const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
    /** Say it until the answer of that kind is there; null when none ever comes. */
    const insist = (what: Buffer, answer: string, id: number): Promise<Buffer | null> =>
      new Promise(resolve => {
        let left = asksMax
        const say = (): void => {
          if (left-- > 0) out(what)
          else finish(null)
        }
        const finish = (bytes: Buffer | null): void => {
          clearInterval(timer)
          socket.off('message', heard)
          resolve(bytes)
        }
        const heard = (bytes: Buffer): void => {
          if (String.fromCharCode(bytes[0]!) === answer && bytes.readUInt32BE(stream.id) === id) finish(bytes)
        }
        const timer = setInterval(say, askEveryMs)
        socket.on('message', heard)
        say()
      })
    const up = async (id: number, ask: StreamAsk): Promise<StreamSeen> => {
      if ((await insist(message('B', id), 'b', id)) === null) return sumUp(undefined, ask)
      await send(id, ask, out)
      await pause(ask.settleMs)
      const answer = await insist(message('Q', id, ask), 'A', id)
      return answer === null ? sumUp(undefined, ask) : JSON.parse(answer.toString('utf8', stream.sequence))
    }
    const down = async (id: number, ask: StreamAsk): Promise<StreamSeen> => {
      const record = newRecord()
      const heard = (bytes: Buffer): void => {
        if (String.fromCharCode(bytes[0]!) === 'P' && bytes.readUInt32BE(stream.id) === id) arrive(record, bytes)
      }
      socket.on('message', heard)
      const isAnswered = (await insist(message('D', id, ask), 'P', id)) !== null
      const lastMs = ask.perSecond === 0 ? 0 : (ask.packets / ask.perSecond) * 1000
      await pause(lastMs)
      // A sender on a crowded machine falls behind its pace: what it has not sent yet is not lost.
      if (isAnswered) await insist(message('E', id), 'e', id)
      await pause(ask.settleMs)
      socket.off('message', heard)
      return sumUp(record, ask)
    }
    const seen: StreamSeen[] = []
    for (const [index, ask] of streams.entries()) {
      seen.push(await (ask.direction === 'up' ? up(index + 1, ask) : down(index + 1, ask)))
    }
    console.log(JSON.stringify(seen))
    process.exit(0)
  }

  if ('reflect' in order) reflect(order.reflect)
  else void probe(order.probe)
}

/** The command that runs the program with an order; `node` is on the path. */
export function linkProbeArgv(order: LinkProbeOrder): string[] {
  return ['node', '-e', `(${linkProbe})(${JSON.stringify(order)})`]
}
