/**
 * A client of port mapping servers: one self-contained function whose source text can be handed to `node -e` inside any
 * host. NAT-PMP as RFC 6886 section 3, PCP as RFC 6887 sections 7 and 11, UPnP as the IGD's WANIPConnection service.
 */
import type { PortMappingProtocol } from './port-mapping.ts'

export interface MappingRequest {
  protocol: PortMappingProtocol
  /** The router as its hosts know it: their default gateway. UPnP finds it by itself. */
  router: string
  transport: 'udp' | 'tcp'
  innerPort: number
  outerPort: number
  lifetimeS: number
}

/** What became of it. */
export interface MappingAnswer {
  /** Whether anybody answered at all. */
  answered: boolean
  granted: boolean
  /** The protocol's own result: UPnP's errorCode, NAT-PMP's or PCP's result code; 0 where it was granted, null unanswered. */
  code: number | null
  /** What the router says its outer address is. */
  address: string | null
  outerPort: number | null
  /** Seconds promised. */
  lifetimeS: number | null
}

/** Ask once, again and again until there is an answer or `withinMs` is over, and print a MappingAnswer. */
export function askMapping(request: MappingRequest, withinMs: number): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const os = process.getBuiltinModule('node:os')
  const crypto = process.getBuiltinModule('node:crypto')
  const { protocol, router, transport, innerPort, outerPort, lifetimeS } = request
  const pcpPort = 5351
  const firstResendMs = 250
  const deadlineMs = performance.now() + withinMs
  const own = Object.values(os.networkInterfaces())
    .flatMap(list => list ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)!.address
  const silence: MappingAnswer = {
    answered: false,
    granted: false,
    code: null,
    address: null,
    outerPort: null,
    lifetimeS: null
  }

  /** The first datagram that is an answer; null: none came in time. */
  const exchange = (message: Buffer, port: number, to: string, isAnswer: (data: Buffer) => boolean) =>
    new Promise<Buffer | null>(resolve => {
      const socket = dgram.createSocket('udp4')
      const finish = (answer: Buffer | null): void => {
        clearTimeout(resend)
        clearTimeout(deadline)
        socket.close()
        resolve(answer)
      }
      // RFC 6886 section 3.1: twice as long each time.
      let resend: NodeJS.Timeout | undefined
      const send = (afterMs: number): void => {
        socket.send(message, port, to)
        resend = setTimeout(send, afterMs, 2 * afterMs)
      }
      const deadline = setTimeout(finish, Math.max(0, deadlineMs - performance.now()), null)
      socket.on('message', data => {
        if (isAnswer(data)) finish(data)
      })
      socket.bind(0, own, () => send(firstResendMs))
    })
  const dotted = (bytes: Buffer): string => [...bytes].join('.')

  const natPmp = async (): Promise<MappingAnswer> => {
    const isAnswer = (opcode: number) => (data: Buffer) => data.length >= 8 && data[0] === 0 && data[1] === 128 + opcode
    const opcode = transport === 'udp' ? 1 : 2
    const ask = Buffer.alloc(12)
    ask.writeUInt8(opcode, 1)
    ask.writeUInt16BE(innerPort, 4)
    ask.writeUInt16BE(outerPort, 6)
    ask.writeUInt32BE(lifetimeS, 8)
    const mapped = await exchange(ask, pcpPort, router, isAnswer(opcode))
    if (mapped === null) return silence
    const whose = await exchange(Buffer.alloc(2), pcpPort, router, isAnswer(0))
    const code = mapped.readUInt16BE(2)
    return {
      answered: true,
      granted: code === 0,
      code,
      address: whose === null || whose.readUInt16BE(2) !== 0 ? null : dotted(whose.subarray(8, 12)),
      outerPort: code === 0 ? mapped.readUInt16BE(10) : null,
      lifetimeS: code === 0 ? mapped.readUInt32BE(12) : null
    }
  }

  const pcp = async (): Promise<MappingAnswer> => {
    const mappedV4 = (address: Buffer): Buffer =>
      Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), address])
    const header = Buffer.alloc(8)
    header.writeUInt8(2, 0)
    header.writeUInt8(1, 1)
    header.writeUInt32BE(lifetimeS, 4)
    const nonce = crypto.randomBytes(12)
    const what = Buffer.alloc(8)
    what.writeUInt8(transport === 'udp' ? 17 : 6, 0)
    what.writeUInt16BE(innerPort, 4)
    what.writeUInt16BE(outerPort, 6)
    const client = mappedV4(Buffer.from(own.split('.').map(Number)))
    const ask = Buffer.concat([header, client, nonce, what, mappedV4(Buffer.alloc(4))])
    const data = await exchange(
      ask,
      pcpPort,
      router,
      answer => answer.length >= 60 && answer[0] === 2 && answer[1] === 129 && answer.subarray(24, 36).equals(nonce)
    )
    if (data === null) return silence
    const code = data.readUInt8(3)
    return {
      answered: true,
      granted: code === 0,
      code,
      address: code === 0 ? dotted(data.subarray(56, 60)) : null,
      outerPort: code === 0 ? data.readUInt16BE(42) : null,
      lifetimeS: code === 0 ? data.readUInt32BE(4) : null
    }
  }

  const upnp = async (): Promise<MappingAnswer> => {
    const lines = [
      'M-SEARCH * HTTP/1.1',
      'HOST: 239.255.255.250:1900',
      'MAN: "ssdp:discover"',
      'MX: 1',
      'ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1'
    ]
    const search = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)
    const found = await exchange(search, 1900, '239.255.255.250', data => /^location:/im.test(data.toString()))
    if (found === null) return silence
    const location = /^location:\s*(\S+)/im.exec(found.toString())![1]!
    const description = await (await fetch(location, { signal: AbortSignal.timeout(withinMs) })).text()
    const service = description.split('<service>').find(part => part.includes(':service:WANIPConnection:'))!
    const [type, control] = ['serviceType', 'controlURL'].map(
      tag => new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(service)![1]!
    )
    const call = async (action: string, words: Record<string, string | number>): Promise<string> => {
      const inner = Object.entries(words).map(([name, value]) => `<${name}>${value}</${name}>`)
      const body = `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:${action} xmlns:u="${type}">${inner.join('')}</u:${action}></s:Body></s:Envelope>`
      const headers = { 'content-type': 'text/xml; charset="utf-8"', soapaction: `"${type}#${action}"` }
      const signal = AbortSignal.timeout(withinMs)
      const response = await fetch(new URL(control!, location), { method: 'POST', headers, body, signal })
      return await response.text()
    }
    const added = await call('AddPortMapping', {
      NewRemoteHost: '',
      NewExternalPort: outerPort,
      NewProtocol: transport.toUpperCase(),
      NewInternalPort: innerPort,
      NewInternalClient: own,
      NewEnabled: 1,
      NewPortMappingDescription: 'warren',
      NewLeaseDuration: lifetimeS
    })
    const whose = await call('GetExternalIPAddress', {})
    const code = Number(/<errorCode>(\d+)</.exec(added)?.[1] ?? 0)
    return {
      answered: true,
      granted: code === 0,
      code,
      address: /<NewExternalIPAddress>([^<]+)</.exec(whose)?.[1] ?? null,
      outerPort: code === 0 ? outerPort : null,
      lifetimeS: code === 0 ? lifetimeS : null
    }
  }

  const asks = { upnp, 'nat-pmp': natPmp, pcp }
  void asks[protocol]().then(answer => {
    console.log(JSON.stringify(answer))
    process.exit(0)
  })
}
