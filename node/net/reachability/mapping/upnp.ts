/**
 * UPnP Internet Gateway Device, versions 1 and 2: WANIPConnection's AddPortMapping. Only a device at the default
 * gateway's own address is believed, whoever answers the search.
 */
import { exchange } from './datagram-exchange.ts'
import { type MappingClient, MappingRefusedError, type MappingRequest, MappingSilentError } from './mapping.types.ts'

const SSDP = { host: '239.255.255.250', port: 1900 } as const
const SERVICE = /<serviceType>(urn:schemas-upnp-org:service:WAN(?:IP|PPP)Connection:\d)<\/serviceType>/
const HTTP_TIMEOUT_MS = 5000
/** Devices answer within a second of their own choice (MX), and datagrams to a group are lost more easily. */
const SEARCHES = 4
/** Descriptions of home routers have 3 to 20 KiB. */
const MAX_DOCUMENT_BYTES = 128 * 1024
/** WANIPConnection: only mappings without an end are supported. */
const ONLY_PERMANENT = 725
/** WANIPConnection: the outer port is another host's. */
const CONFLICT = 718
/** Other outer ports that are tried then. */
const OTHER_PORTS = 3
const FIRST_FREE_PORT = 20_000
const FREE_PORTS = 30_000

interface Service {
  type: string
  control: URL
}

export const upnp: MappingClient = {
  protocol: 'upnp',
  async map(router, request, signal) {
    const service = await findService(router, request.innerHost, signal)
    if (request.lifetimeS === 0) {
      await call(service, 'DeletePortMapping', outer(request), signal)
      return { outerHost: router, outerPort: request.outerPort, lifetimeS: 0 }
    }
    const { outerPort, lifetimeS } = await add(service, request, signal)
    const answer = await call(service, 'GetExternalIPAddress', {}, signal)
    const outerHost = /<NewExternalIPAddress>\s*([\d.]+)\s*</.exec(answer)?.[1]
    if (outerHost === undefined) throw new MappingRefusedError('upnp', 'it does not tell its outer address')
    return { outerHost, outerPort, lifetimeS }
  }
}

async function add(
  service: Service,
  request: MappingRequest,
  signal: AbortSignal
): Promise<{ outerPort: number; lifetimeS: number }> {
  let { outerPort, lifetimeS } = request
  for (let others = 0; ; ) {
    try {
      await call(
        service,
        'AddPortMapping',
        {
          ...outer({ ...request, outerPort }),
          NewInternalPort: request.innerPort,
          NewInternalClient: request.innerHost,
          NewEnabled: 1,
          NewPortMappingDescription: 'warren',
          NewLeaseDuration: lifetimeS
        },
        signal
      )
      return { outerPort, lifetimeS }
    } catch (error) {
      const code = error instanceof UpnpError ? error.upnpCode : null
      if (code === ONLY_PERMANENT && lifetimeS > 0) lifetimeS = 0
      else if (code === CONFLICT && others++ < OTHER_PORTS) {
        outerPort = FIRST_FREE_PORT + Math.floor(Math.random() * FREE_PORTS)
      } else throw error
    }
  }
}

const outer = ({ outerPort, transport }: Pick<MappingRequest, 'outerPort' | 'transport'>) => ({
  NewRemoteHost: '',
  NewExternalPort: outerPort,
  NewProtocol: transport.toUpperCase()
})

async function findService(router: string, from: string, signal: AbortSignal): Promise<Service> {
  const search = [
    'M-SEARCH * HTTP/1.1',
    `HOST: ${SSDP.host}:${SSDP.port}`,
    'MAN: "ssdp:discover"',
    'MX: 1',
    // Version 2 devices answer for version 1 too.
    'ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1',
    '',
    ''
  ]
  const answer = await exchange({
    to: SSDP,
    from,
    message: Buffer.from(search.join('\r\n')),
    // Routers may answer from another of their addresses; what counts is where they send us.
    isAnswer: data => locationIn(data, router) !== null,
    anyone: true,
    tries: SEARCHES,
    signal
  })
  const location = answer === null ? null : locationIn(answer, router)
  if (location === null) throw new MappingSilentError('upnp')
  const description = await document(location, { method: 'GET' }, signal)
  for (const part of description.text.split('<service>').slice(1)) {
    const type = SERVICE.exec(part)?.[1]
    // No blanks in the pattern: beside what it takes they would be tried in every split, for hours in a long text.
    const path = /<controlURL>([^<]*)<\/controlURL>/.exec(part)?.[1]?.trim()
    if (type === undefined || path === undefined || path === '' || !URL.canParse(path, location.href)) continue
    const control = new URL(path, location)
    if (control.protocol === 'http:' && control.hostname === router) return { type, control }
  }
  throw new MappingSilentError('upnp')
}

/** Where the device at `router` describes itself; null when the datagram names another host. */
function locationIn(datagram: Buffer, router: string): URL | null {
  const text = /^location:\s*(\S+)/im.exec(datagram.toString('latin1'))?.[1]
  if (text === undefined || !URL.canParse(text)) return null
  const url = new URL(text)
  return url.protocol === 'http:' && url.hostname === router ? url : null
}

async function call(
  { type, control }: Service,
  action: string,
  words: Record<string, string | number>,
  signal: AbortSignal
): Promise<string> {
  const inner = Object.entries(words)
    .map(([name, value]) => `<${name}>${value}</${name}>`)
    .join('')
  const body =
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>' +
    `<u:${action} xmlns:u="${type}">${inner}</u:${action}></s:Body></s:Envelope>`
  const headers = { 'content-type': 'text/xml; charset="utf-8"', soapaction: `"${type}#${action}"` }
  const { ok, text } = await document(control, { method: 'POST', headers, body }, signal)
  if (ok) return text
  throw new UpnpError(Number(/<errorCode>\s*(\d+)\s*</.exec(text)?.[1] ?? 0))
}

async function document(url: URL, init: RequestInit, signal: AbortSignal): Promise<{ ok: boolean; text: string }> {
  const timeout = AbortSignal.timeout(HTTP_TIMEOUT_MS)
  try {
    const response = await fetch(url, { ...init, redirect: 'error', signal: AbortSignal.any([signal, timeout]) })
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += chunk.byteLength
      if (bytes > MAX_DOCUMENT_BYTES) throw new Error('the answer is too long')
      chunks.push(chunk)
    }
    return { ok: response.ok, text: Buffer.concat(chunks).toString('utf8') }
  } catch {
    signal.throwIfAborted()
    throw new MappingSilentError('upnp')
  }
}

/** UPnP's own error. */
class UpnpError extends MappingRefusedError {
  readonly upnpCode: number

  constructor(upnpCode: number) {
    super('upnp', `error ${upnpCode}`)
    this.upnpCode = upnpCode
  }
}
